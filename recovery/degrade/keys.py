"""The Redis keys and channels of degradations and endpoints, and what their values look like.

recovery:degradation:<service>   string, JSON, the degradation that the strategy `degrade` put (layer "recovery"); expires when nothing
                                 is left of it, at `until` + number of stages in `ramp` * `ramp_stage`
recovery:degradation:<service>:<layer>
                                 the same of another layer: "manual" (people), "rule:<name>" (automatic rules), "throttle",
                                 "quarantine" (those strategies). <service> is `*` for the whole system
recovery:degradations            sorted set: "<service>" or "<service>:<layer>" -> moment its key expires, ms of Redis time
recovery:endpoint:<service>      string, JSON: {"service", "name", "url", "since", "recovery_id", "fence"}
recovery:endpoints               set of services whose callers are sent to a backup
recovery:degradation:changed     channel; the message is the member of `recovery:degradations` that changed
recovery:endpoint:changed        channel; the message is the service's name

The JSON of a degradation:
{"service", "layer", "level", "since", "until", "ramp", "ramp_stage", "features_off", "capabilities", "reason", "by", "recovery_id",
 "fence"}
  level         "partial", "limited", "minimal" or "emergency"
  since, until  seconds since the epoch; from `until` on, `ramp` (rising percentages, 1 to 99, may be empty) says for how many callers
                of a hundred it is over, each for `ramp_stage` seconds (`recovery/degrade/ramp.py`)
  features_off  names of features, as the platform resolved them from its declarations
  capabilities  name -> percent left
  by            the person, "rule <name>", or the recovery's strategy; "" if nobody is told
  fence         within a layer, an older one never replaces or ends a newer one
A value written before `layer`, `ramp`, `ramp_stage` and `by` existed lacks them: "recovery", [], 30, "".

All keys are expected on one primary; a Redis Cluster would need them in one slot.
"""

from collections.abc import Iterable

DEGRADATION = "recovery:degradation:"
DEGRADATIONS = "recovery:degradations"
DEGRADATION_CHANGED = "recovery:degradation:changed"
ENDPOINT = "recovery:endpoint:"
ENDPOINTS = "recovery:endpoints"
ENDPOINT_CHANGED = "recovery:endpoint:changed"

SYSTEM = "*"
"""In place of a service: the whole system."""
RECOVERY = "recovery"
"""Layer of what the strategy `degrade` put."""
MANUAL = "manual"
"""Layer of what people put."""
RULE = "rule:"
"""Layers of rules begin with it."""

STRATEGY_LAYERS = {"degrade": RECOVERY, "throttle": "throttle", "quarantine": "quarantine"}
"""Strategy -> the layer that it puts."""


def member_of(service: str, layer: str) -> str:
    """Return the name of a degradation in the index and in messages; `DEGRADATION` before it is its key."""
    return service if layer == RECOVERY else f"{service}:{layer}"


def texts(values: Iterable[bytes | str | None]) -> list[str]:
    """Return the values that are there as text, whether or not the connection decodes responses."""
    return [value.decode() if isinstance(value, bytes) else value for value in values if value is not None]
