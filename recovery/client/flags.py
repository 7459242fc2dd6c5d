"""The questions that a service asks of its local view: what to do without right now, how much, and why."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import random
from typing import Generic, Literal, TypeVar

from recovery.client.known import Degraded, Known, LevelName
from recovery.client.view import Freshness, LocalView, Told
from recovery.degrade.ramp import GONE, IN_FORCE, left_of, share_of

__all__ = ["Degraded", "Explanation", "Flags", "LevelName", "Why"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Deciding = tuple[int, Degraded | None]
"""How far it is restored in percent, and what decides; (100, None) for what nobody touches."""

Why = Literal["normal", "degraded", "restoring", "unknown"]
"""`restoring`: its time is over and the callers come back by the ramp; `unknown`: Redis was never reached."""

_NOBODY: Deciding = (GONE, None)


@dataclass(frozen=True, slots=True)
class Explanation(Generic[T_co]):
    """An answer and where it comes from."""

    value: T_co
    why: Why
    percent: int = GONE
    """For how many callers of a hundred it is over: 0 in force, 1 to 99 restoring, 100 normal."""
    cause: Degraded | None = None
    """What decided: of several the one that takes most."""
    stale: bool = False
    """Redis is away: this is what was known last."""


class Flags:
    """What this process should do without right now. No method raises, and only the very first waits, at most a second.

    A question for a service heeds that service's degradations and the system's; one for `"*"` the system's alone; one without
    a service all there are. The first question waits for Redis in a thread without an event loop only.

    Args:
        view: The local view.
        ready: Sees to it that the view was fed once, if that can be had within a second.
    """

    def __init__(self, view: LocalView, ready: Callable[[], object]) -> None:
        self._view = view
        self._ready = ready

    # --- features ---

    def enabled(self, feature: str, *, service: str | None = None, default: bool = True, key: str | None = None) -> bool:
        """Say whether `feature` is on: off while a degradation switches it off, and on for a growing part of the callers after that.

        Args:
            feature: Its name; one that no degradation names is on.
            service: Whose degradations to heed.
            default: The answer while Redis was never reached.
            key: Who asks, a user's id for example: during a ramp the same one always gets the same answer. Without it, chance decides.
        """
        known = self._view.known or self._first()
        if known is None:
            return default
        found = known.features.get(feature)
        return found is None or _is_on(_least_restored(found, service)[0], feature, key)

    def why(self, feature: str, *, service: str | None = None, default: bool = True, key: str | None = None) -> Explanation[bool]:
        """Return what `enabled` says, and what it comes from."""
        known = self._view.known or self._first()
        if known is None:
            return Explanation(default, "unknown")
        found = known.features.get(feature)
        deciding = _least_restored(found, service) if found else _NOBODY
        return self._answer(_is_on(deciding[0], feature, key), deciding)

    # --- capabilities ---

    def capability(self, name: str, *, service: str | None = None, default: int = 100) -> int:
        """Return the percentage of a capability to use, 0 to 100: the least that any degradation leaves.

        `default` is the answer when nobody limits it, and while Redis was never reached. During a ramp the rest comes back by its
        percentage, for all callers alike.
        """
        known = self._view.known or self._first()
        found = known.capabilities.get(name) if known else None
        if found is None:
            return default
        value, (_, cause) = _least_left(found, name, service)
        return default if cause is None else value

    def why_capability(self, name: str, *, service: str | None = None, default: int = 100) -> Explanation[int]:
        """Return what `capability` says, and what it comes from."""
        known = self._view.known or self._first()
        if known is None:
            return Explanation(default, "unknown")
        found = known.capabilities.get(name)
        value, deciding = _least_left(found, name, service) if found else (default, _NOBODY)
        return self._answer(default if deciding[1] is None else value, deciding)

    # --- services ---

    def level(self, service: str | None = None) -> LevelName:
        """Return how far `service` is degraded: the worst of its own and the system's levels, until the last ramp is through."""
        found = self.in_force(service)
        return _worst(found).level if found else "normal"

    def why_level(self, service: str | None = None) -> Explanation[LevelName]:
        """Return what `level` says, and what it comes from."""
        found = self.in_force(service)
        if self._view.known is None:
            return Explanation("normal", "unknown")
        if not found:
            return self._answer("normal", _NOBODY)
        cause = _worst(found)
        return self._answer(cause.level, (cause.restored(time.time()), cause))

    def in_force(self, service: str | None = None) -> tuple[Degraded, ...]:
        """Return every degradation that a reader for `service` heeds now, those that are being restored among them."""
        known = self._view.known or self._first()
        if known is None or not known.degraded:
            return ()
        now = time.time()
        return tuple(one for one in known.degraded if one.concerns(service) and one.restored(now) < GONE)

    def endpoint(self, service: str, default_url: str) -> str:
        """Return the URL of the backup in use for `service`, else `default_url`."""
        known = self._view.known or self._first()
        return known.endpoints.get(service, default_url) if known else default_url

    # --- the view ---

    @property
    def freshness(self) -> Freshness:
        """Return `unknown` while Redis was never reached, `fresh`, or `stale` while it is away."""
        return self._view.freshness

    def on_change(self, listener: Told) -> Callable[[], None]:
        """Call `listener` with a `Change` whenever answers become others; return the function that ends this.

        It is called in a thread of the client's and holds up the others; what it raises is logged. Pushed changes come at once, those
        that come by the clock (an end, a step of a ramp) within two seconds.
        """
        return self._view.on_change(listener)

    def _first(self) -> Known | None:
        self._ready()
        return self._view.known

    def _answer(self, value: T, deciding: Deciding) -> Explanation[T]:
        percent, cause = deciding
        why: Why = "normal" if cause is None else "degraded" if percent == IN_FORCE else "restoring"
        return Explanation(value, why, percent, cause, self._view.freshness == "stale")


def _least_restored(found: Iterable[Degraded], service: str | None) -> Deciding:
    """Return what lets the fewest callers have their feature."""
    least, cause = _NOBODY
    now = time.time()
    for one in found:
        if one.concerns(service) and (percent := one.restored(now)) < least:
            least, cause = percent, one
    return least, cause


def _least_left(found: Iterable[Degraded], name: str, service: str | None) -> tuple[int, Deciding]:
    """Return the least that is left of a capability, and what decides it."""
    now = time.time()
    least: tuple[int, Deciding] = (100, _NOBODY)
    for one in found:
        if one.concerns(service) and (percent := one.restored(now)) < GONE:
            left = left_of(one.capabilities[name], percent)
            if left < least[0] or least[1][1] is None:
                least = left, (percent, one)
    return least


def _is_on(percent: int, feature: str, key: str | None) -> bool:
    if percent in (IN_FORCE, GONE):
        return percent == GONE
    return (random() * 100 if key is None else share_of(key, feature)) < percent  # noqa: S311 - a share of callers, no secret


def _worst(found: Iterable[Degraded]) -> Degraded:
    return max(found, key=lambda one: (one.severity, one.until))
