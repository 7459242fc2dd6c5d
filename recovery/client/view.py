"""The local view of degradations and endpoints: fed by the watch, read without waiting, and telling listeners what changed."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Literal, cast

from recovery.client.known import Known, degradations_of, endpoints_of
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

Freshness = Literal["unknown", "fresh", "stale"]
"""`unknown`: Redis was never reached; `stale`: it was, but is away now, and what was known holds until it ends."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is different now from what listeners were told last."""

    freshness: Freshness
    before: Freshness
    features: frozenset[str] = frozenset()
    capabilities: frozenset[str] = frozenset()
    levels: frozenset[str] = frozenset()
    """Services, and `*` for the system."""
    endpoints: frozenset[str] = frozenset()
    """Services."""


Told = Callable[[Change], object]


class LocalView:
    """A `watch.Listener` that keeps the last known state; what ended by its `until` is over also while Redis is away."""

    channels = (DEGRADATION_CHANGED, ENDPOINT_CHANGED)

    def __init__(self) -> None:
        self.known: Known | None = None
        self._listeners: tuple[Told, ...] = ()
        self._cut_off = False
        self._told_freshness: Freshness = "unknown"
        self._told: dict[tuple[str, str], tuple[object, ...]] = {}
        self.renew()

    def renew(self) -> None:
        """Go on in a forked child with what the parent knew; that is stale until the child has looked itself."""
        self._away = True
        self._taking = Lock()
        self._read: object = None

    @property
    def freshness(self) -> Freshness:
        """Return whether Redis was ever reached, and is now."""
        if self.known is None:
            return "unknown"
        return "stale" if self._away or self._cut_off else "fresh"

    def load(self, redis: "Redis") -> None:
        """Take in every degradation and endpoint."""
        if self._cut_off:
            return
        members = texts(cast("list[bytes]", redis.zrange(DEGRADATIONS, 0, -1)))
        switched = sorted(texts(cast("set[bytes]", redis.smembers(ENDPOINTS))))
        keys = [DEGRADATION + member for member in members] + [ENDPOINT + service for service in switched]
        values = cast("list[bytes | None]", redis.mget(keys)) if keys else []
        read = (len(members), values)
        if self.known is None or read != self._read:  # most looks find nothing new
            degraded = degradations_of(texts(values[: len(members)]))
            self.known = Known.of(degraded, endpoints_of(texts(values[len(members) :])))
            self._read = read
        self._away = False
        self._tell()

    def hear(self, _message: bytes, redis: "Redis") -> None:
        """Take in everything again; there is never much of it."""
        self.load(redis)

    def away(self, error: Exception) -> None:  # noqa: ARG002 - what went wrong is the watch's to say
        """Keep what is known: it ends by itself."""
        self._away = True
        self._tell()

    def cut_off(self) -> None:
        """Note that nobody feeds the view any more; listeners are not told, because it is their own process that wants it so."""
        self._cut_off = True

    def on_change(self, listener: Told) -> Callable[[], None]:
        """Call `listener` with each `Change` from now on, until the function that is returned is called."""
        with self._taking:
            self._listeners = (*self._listeners, listener)

        def remove() -> None:
            with self._taking:
                self._listeners = tuple(one for one in self._listeners if one is not listener)

        return remove

    def _tell(self) -> None:
        """Tell the listeners, if any answer is another than when they were told last, be it by the clock alone."""
        known = self.known or Known()
        answers = known.answers(time.time())
        before, self._told = self._told, answers
        freshness = self.freshness
        fresh_before, self._told_freshness = self._told_freshness, freshness
        changed = {answer for answer in before.keys() | answers.keys() if before.get(answer) != answers.get(answer)}
        if not changed and fresh_before == freshness:
            return
        features, capabilities, levels, endpoints = (
            frozenset(name for found, name in changed if found == kind) for kind in ("feature", "capability", "level", "endpoint")
        )
        change = Change(freshness, fresh_before, features, capabilities, levels, endpoints)
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                log.exception("a listener to changes of degradations failed; the others are told all the same")
