"""Tells listeners how a breaker changed: in order, one change at a time, and never under a lock of the breaker's."""

import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from recovery.breaker.circuit import Shown

log = logging.getLogger("recovery.breaker")


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of what a breaker shows, as one process saw it."""

    name: str
    before: Shown
    after: Shown
    """The same as before in `metrics_only`: it would have opened."""
    reason: str
    at: datetime = field(default_factory=_now)


Listener = Callable[[Change], object]


class Notices:
    """Changes that are still to be told, and whom to tell."""

    def __init__(self) -> None:
        self._listeners: tuple[Listener, ...] = ()
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: what waited is its parent's to tell, and so is whoever was telling it."""
        self._waiting: deque[Change] = deque()
        self._telling = Lock()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Tell this one, too, until what is returned is called; what it raises is logged."""
        self._listeners += (listener,)

        def leave() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return leave

    def add(self, change: Change) -> None:
        """Note a change; `send` tells it, once the lock is free."""
        if change.before == change.after:
            log.warning("breaker '%s' %s", change.name, change.reason)
        if self._listeners:
            self._waiting.append(change)

    def send(self) -> None:
        """Tell what waits; does nothing if another thread is telling, or a listener that made a change: then that one goes on."""
        waiting, telling = self._waiting, self._telling  # a listener may fork
        while waiting and telling.acquire(blocking=False):  # looks again after the release: something may have come just before it
            try:
                while waiting:
                    self._tell(waiting.popleft())
            finally:
                telling.release()

    def _tell(self, change: Change) -> None:
        for listener in self._listeners:
            try:
                listener(change)
            except Exception:
                log.exception("a listener of breaker '%s' failed", change.name)
