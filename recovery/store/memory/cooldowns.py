"""Cooldown locks and heartbeats of one process, by an injected clock."""

import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from recovery.clocks import still_runs
from recovery.models import utcnow
from recovery.ports import Clock


@dataclass(frozen=True, slots=True)
class Lock:
    """Who keeps a strategy off a service, and until when."""

    holder: str
    since: datetime
    until: datetime


class MemoryCooldowns:
    """Implements `ports.Cooldowns`.

    Args:
        clock: what time it is; tests hand in their own.
    """

    def __init__(self, clock: Clock = utcnow) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], Lock] = {}

    def acquire(self, service: str, strategy: str, holder: str, seconds: float) -> bool:
        """Take the lock for `seconds`; True also when `holder` has it already, without extending it."""
        now = self._clock()
        with self._guard:
            current = self._locks.get((service, strategy))
            if current is not None and still_runs(current.since, current.until, now):
                return current.holder == holder
            if seconds > 0:
                self._locks[service, strategy] = Lock(holder, now, now + timedelta(seconds=seconds))
            return True

    def remaining(self, service: str, strategies: Collection[str]) -> dict[str, float]:
        """Return the seconds left for each strategy that is locked."""
        now = self._clock()
        with self._guard:
            locks = {strategy: self._locks[service, strategy] for strategy in strategies if (service, strategy) in self._locks}
        return {strategy: (lock.until - now).total_seconds() for strategy, lock in locks.items() if still_runs(lock.since, lock.until, now)}

    def release(self, service: str, strategy: str, holder: str) -> None:
        """Free the lock if `holder` has it."""
        with self._guard:
            current = self._locks.get((service, strategy))
            if current is not None and current.holder == holder:
                del self._locks[service, strategy]


class MemoryHeartbeats:
    """Implements `ports.Heartbeats`."""

    def __init__(self) -> None:
        self._beats: dict[str, datetime] = {}

    def beat(self, service: str, at: datetime) -> None:
        """Note that `service` gave a sign of life."""
        self._beats[service] = at

    def last(self, service: str) -> datetime | None:
        """Return when `service` last reported in, or None if it never did."""
        return self._beats.get(service)
