"""The Redis keys and channels of degradations and endpoints, and what their values look like.

recovery:degradation:<service>   string, JSON, expires with the degradation:
                                 {"service", "level", "since", "until", "features_off", "capabilities", "reason", "recovery_id", "fence"};
                                 `since` and `until` are seconds since the epoch
recovery:degradations            sorted set: service -> moment its degradation ends, ms of Redis time
recovery:endpoint:<service>      string, JSON: {"service", "name", "url", "since", "recovery_id", "fence"}
recovery:endpoints               set of services whose callers are sent to a backup
recovery:degradation:changed     channel; the message is the service's name
recovery:endpoint:changed        channel; the message is the service's name

All keys are expected on one primary; a Redis Cluster would need them in one slot.
"""

from collections.abc import Iterable

DEGRADATION = "recovery:degradation:"
DEGRADATIONS = "recovery:degradations"
DEGRADATION_CHANGED = "recovery:degradation:changed"
ENDPOINT = "recovery:endpoint:"
ENDPOINTS = "recovery:endpoints"
ENDPOINT_CHANGED = "recovery:endpoint:changed"


def texts(values: Iterable[bytes | str | None]) -> list[str]:
    """Return the values that are there as text, whether or not the connection decodes responses."""
    return [value.decode() if isinstance(value, bytes) else value for value in values if value is not None]
