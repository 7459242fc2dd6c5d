"""What this process knows of degradations and endpoints: read without waiting, fed by the watch."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, cast

from recovery.degrade.keys import (
    DEGRADATION,
    DEGRADATION_CHANGED,
    DEGRADATIONS,
    ENDPOINT,
    ENDPOINT_CHANGED,
    ENDPOINTS,
    texts,
)

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("recovery.client")

_DEGRADED = frozenset({"service", "level", "until", "features_off", "capabilities"})
_SWITCHED = frozenset({"service", "url"})

LevelName = Literal["normal", "partial", "limited", "minimal", "emergency"]


@dataclass(frozen=True, slots=True)
class Degraded:
    """What one service does without until `until` (seconds since the epoch)."""

    service: str
    level: LevelName
    until: float
    features_off: frozenset[str]
    capabilities: dict[str, int]


@dataclass(frozen=True, slots=True)
class Known:
    """Everything in force at one moment, replaced as a whole."""

    degraded: tuple[Degraded, ...] = ()
    endpoints: dict[str, str] | None = None
    """Service -> URL of the backup in use."""


class LocalView:
    """A `Listener` that keeps the last known state; what ended by its `until` is left out also when Redis is away."""

    channels = (DEGRADATION_CHANGED, ENDPOINT_CHANGED)

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self.known: Known | None = None
        self._taking = Lock()

    def load(self, redis: "Redis") -> None:
        """Take in every degradation and endpoint."""
        with self._taking:
            services = texts(cast("list[bytes]", redis.zrange(DEGRADATIONS, 0, -1)))
            switched = texts(cast("set[bytes]", redis.smembers(ENDPOINTS)))
            keys = [DEGRADATION + service for service in services] + [ENDPOINT + service for service in switched]
            values = cast("list[bytes | None]", redis.mget(keys)) if keys else []
            degraded = [_degraded(fields) for fields in _readable(values[: len(services)], _DEGRADED)]
            endpoints = {fields["service"]: fields["url"] for fields in _readable(values[len(services) :], _SWITCHED)}
            self.known = Known(tuple(degraded), endpoints)

    def hear(self, _message: bytes, redis: "Redis") -> None:
        """Take in everything again; there is never much of it."""
        self.load(redis)

    def away(self, error: Exception) -> None:
        """Keep what is known: it ends by itself."""

    def in_force(self, service: str | None) -> Iterable[Degraded]:
        """Return what is in force for `service`, or for any."""
        known = self.known
        if known is None or not known.degraded:
            return ()
        now = time.time()
        return [one for one in known.degraded if one.until > now and (service is None or one.service == service)]


class Flags:
    """What this process should do without right now. No method raises; only the very first waits, at most a second.

    Args:
        view: The local view.
        ready: Sees to it that the view was fed once, if that can be had within a second.
    """

    def __init__(self, view: LocalView, ready: Callable[[], object]) -> None:
        self._view = view
        self._ready = ready

    def enabled(self, feature: str, *, service: str | None = None, default: bool = True) -> bool:
        """Say whether `feature` is on: off while a degradation (of `service`, or of any) switches it off.

        `default` is the answer while Redis was never reached.
        """
        self._ready()
        if self._view.known is None:
            return default
        return all(feature not in one.features_off for one in self._view.in_force(service))

    def capability(self, name: str, *, service: str | None = None, default: int = 100) -> int:
        """Return the percentage of a capability to use, 0 to 100: the least that any degradation (of `service`) leaves.

        `default` is the answer when nobody limits it.
        """
        self._ready()
        return min((one.capabilities[name] for one in self._view.in_force(service) if name in one.capabilities), default=default)

    def level(self, service: str) -> LevelName:
        """Return how far `service` is degraded."""
        self._ready()
        return next((one.level for one in self._view.in_force(service)), "normal")

    def endpoint(self, service: str, default_url: str) -> str:
        """Return the URL of the backup in use for `service`, else `default_url`."""
        self._ready()
        known = self._view.known
        return known.endpoints.get(service, default_url) if known and known.endpoints else default_url


def _readable(values: Sequence[bytes | None], needed: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Yield the values that are what they should be: one that is not must not hide the others."""
    for value in texts(values):
        try:
            fields = json.loads(value)
            if needed <= fields.keys():
                yield fields
                continue
        except (ValueError, AttributeError):
            pass
        log.warning("left out what is no degradation and no endpoint: %.200s", value)


def _degraded(fields: dict[str, Any]) -> Degraded:
    return Degraded(fields["service"], fields["level"], fields["until"], frozenset(fields["features_off"]), fields["capabilities"])
