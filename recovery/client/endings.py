"""Tells a waiting caller that a recovery of a service has ended: pushed by the platform, with a look at the keys as the net.

recovery:service:<name>     string, JSON, expires after an hour: the recovery of the service that ended last,
                            {"service", "recovery_id", "state", "outcome", "at"}; `state` is succeeded, failed, cancelled or suppressed,
                            `outcome` may be null, `at` is seconds since the epoch
recovery:service:changed    channel; the message is the same JSON

Written by `workers.endings` after the commit. A notice may be lost, never wrong: who waits has a deadline of its own.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Lock
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from redis import Redis

SERVICE = "recovery:service:"
SERVICE_CHANGED = "recovery:service:changed"

log = logging.getLogger("recovery.client")


class Ending(NamedTuple):
    """The end of one recovery."""

    service: str
    recovery_id: str
    state: str
    outcome: str | None
    at: float
    """Seconds since the epoch, by the platform's clock."""

    @property
    def is_hopeful(self) -> bool:
        """Say whether the service may be well now; after a failed or cancelled recovery nobody did anything about it."""
        return self.state in {"succeeded", "suppressed"}


class _Followed:
    """What is known of one service."""

    def __init__(self) -> None:
        self.since = time.time()
        self.was_read = False
        self.ending: Ending | None = None
        self.endings = 0
        self.waiting: list[Callable[[], object]] = []


class Endings:
    """A `Listener` that knows how often recoveries of the followed services ended."""

    channels = (SERVICE_CHANGED,)

    def __init__(self) -> None:
        self._followed: dict[str, _Followed] = {}
        self._closed = False
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child: its parent's callers do not wait here."""
        self._lock = Lock()
        for followed in self._followed.values():
            followed.waiting = []

    def follow(self, service: str) -> int:
        """Return how many recoveries of `service` ended since it is followed; it is from the first call on."""
        with self._lock:
            return self._followed.setdefault(service, _Followed()).endings

    def wait(self, service: str, known: int, seconds: float) -> Ending | None:
        """Wait until more recoveries ended than are `known`, at most `seconds`; None: none did."""
        rang = Event()
        with self._told(service, rang.set):
            if self._since(service, known) is None and not self._closed:
                rang.wait(seconds)
        return self._since(service, known)

    async def wait_async(self, service: str, known: int, seconds: float) -> Ending | None:
        """Like `wait`, without holding up the event loop."""
        import asyncio  # loaded already where this is called

        rang, loop = asyncio.Event(), asyncio.get_running_loop()

        def ring() -> None:
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(rang.set)

        with self._told(service, ring), suppress(TimeoutError):
            if self._since(service, known) is None and not self._closed:
                await asyncio.wait_for(rang.wait(), seconds)
        return self._since(service, known)

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._closed = True
        for service in list(self._followed):
            self._ring(service)

    # --- Listener: called by the watch ---

    def load(self, redis: "Redis") -> None:
        """Look at the last ending of every followed service."""
        services = list(self._followed)
        values = cast("list[bytes | None]", redis.mget([SERVICE + service for service in services])) if services else []
        for service, found in zip(services, values, strict=True):
            ending = _read(found) if found else None
            if ending is not None:
                self._take(ending, pushed=False)
            self._followed[service].was_read = True

    def hear(self, message: bytes, _redis: "Redis") -> None:
        """Take in one ending."""
        ending = _read(message)
        if ending is not None:
            self._take(ending, pushed=True)

    def away(self, error: Exception) -> None:
        """Go on waiting: each caller's own deadline ends that."""

    def _take(self, ending: Ending, *, pushed: bool) -> None:
        with self._lock:
            followed = self._followed.get(ending.service)
            if followed is None or (followed.ending and followed.ending.recovery_id == ending.recovery_id):
                return
            is_old = not (pushed or followed.was_read) and ending.at < followed.since
            followed.ending = ending
            followed.endings += not is_old
        self._ring(ending.service)

    def _ring(self, service: str) -> None:
        for tell in list(self._followed[service].waiting):
            tell()

    @contextmanager
    def _told(self, service: str, tell: Callable[[], object]) -> Iterator[None]:
        waiting = self._followed[service].waiting
        waiting.append(tell)
        try:
            yield
        finally:
            with suppress(ValueError):  # forked meanwhile
                waiting.remove(tell)

    def _since(self, service: str, known: int) -> Ending | None:
        with self._lock:
            followed = self._followed[service]
            return followed.ending if followed.endings > known else None


def _read(message: bytes) -> Ending | None:
    try:
        fields = json.loads(message)
        return Ending(fields["service"], fields["recovery_id"], fields["state"], fields["outcome"], float(fields["at"]))
    except (ValueError, TypeError, KeyError):
        log.warning("left out what is no ending of a recovery: %.200s", message)
        return None
