"""Keeps one process's breakers in step with the fleet: reports ends of calls in the background, takes in what others changed.

Redis away: each process goes on by its own counts and the log says so once. Redis back: what was counted meanwhile is
reported, and the fleet's state holds again.
"""

import json
import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, NamedTuple

from recovery.breaker.caller import Breaker
from recovery.breaker.circuit import Admission, Result
from recovery.breaker.shared import BREAKER_CHANGED, SharedCircuits, Snapshot

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("recovery.breaker")

Opened = Callable[[Breaker, str], None]
"""Called in the background, with the failure that opened a breaker, by the one process that opened it."""


class Ended(NamedTuple):
    """One call that ended."""

    breaker: Breaker
    result: Result
    permit: str
    reason: str


class FleetLink:
    """Connects the breakers of one process to Redis; a `Fleet` for its breakers and a `Listener` for the client's watch.

    Args:
        on_open: Told when a breaker opened because of this process.
    """

    channels = (BREAKER_CHANGED,)

    def __init__(self, on_open: Opened) -> None:
        self._on_open = on_open
        self._breakers: dict[str, Breaker] = {}
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self._shared: SharedCircuits | None = None
        self._ended: SimpleQueue[Ended | None] = SimpleQueue()
        self._starting = Lock()
        self._thread: Thread | None = None
        self._said_away = False
        for breaker in self._breakers.values():
            breaker.renew()

    def add(self, breaker: Breaker) -> None:
        """Connect a breaker, make it known to the fleet and learn soon how it stands there."""
        self._breakers[breaker.name] = breaker
        self.tell(breaker, "void", "", "")

    # --- Fleet: called by breakers ---

    def admit(self, breaker: Breaker, permit: str) -> Admission | None:
        """Ask Redis for a permit; None if it is away. The connection's timeout bounds the wait."""
        shared = self._shared
        if shared is None:
            return None
        try:
            snapshot, admission = shared.admit(breaker.name, breaker.options, permit)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the caller gets an answer
            self.away(error)
            return None
        breaker.apply(snapshot)
        return admission

    def tell(self, breaker: Breaker, result: Result, permit: str, reason: str) -> None:
        """Report the end of a call in the background."""
        self._ended.put(Ended(breaker, result, permit, reason))
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="recovery-breakers", daemon=True)
                    self._thread.start()

    def close(self, timeout: float) -> None:
        """Report what waits, for at most `timeout` seconds, and end the thread."""
        thread = self._thread
        if thread is not None:
            self._ended.put(None)
            thread.join(timeout)

    # --- Listener: called by the watch ---

    def load(self, redis: "Redis") -> None:
        """Take in how all breakers stand; after an absence report first what was counted alone."""
        shared = self._shared or SharedCircuits(redis)
        for breaker in list(self._breakers.values()):
            before = breaker.circuit
            unheard = breaker.take_unheard()
            if unheard:
                snapshot, opened = shared.record(breaker.name, breaker.options, "failed", count=unheard, reason=before.reason)
                if opened and before.state != "open":
                    self._on_open(breaker, before.reason)
            else:
                snapshot = shared.view(breaker.name) or shared.declare(breaker.name, breaker.options)
            breaker.apply(snapshot)
        if self._said_away:
            self._said_away = False
            log.warning("Redis answers again: breakers are shared with the fleet again")
        self._shared = shared

    def hear(self, message: bytes, _redis: "Redis") -> None:
        """Take in one pushed change."""
        told = json.loads(message)
        breaker = self._breakers.get(told["name"])
        if breaker is not None:
            retry_in = told["retry_in"] / 1000
            breaker.apply(
                Snapshot(breaker.name, told["state"], told["failures"], 0, None, retry_in, told["trips"], "", told["version"], now=0.0)
            )

    def away(self, error: Exception) -> None:
        """Note that Redis cannot be reached: breakers go on alone."""
        self._shared = None
        if self._breakers and not self._said_away:
            self._said_away = True
            log.warning("Redis does not answer (%s): breakers go on with what this process sees alone", type(error).__name__)

    # --- the thread ---

    def _run(self) -> None:
        while (ended := self._ended.get()) is not None:
            try:
                self._report(ended)
            except Exception:
                log.exception("the end of a call through breaker '%s' could not be counted", ended.breaker.name)

    def _report(self, ended: Ended) -> None:
        breaker, shared, snapshot, opened = ended.breaker, self._shared, None, False
        if shared is not None:
            try:
                snapshot, opened = shared.record(breaker.name, breaker.options, ended.result, permit=ended.permit, reason=ended.reason)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, this process's own count holds
                self.away(error)
        breaker.answered(ended.result, snapshot)
        opened_here = (snapshot is None or snapshot.state == "open") and breaker.take_opening()
        if opened or (snapshot is None and opened_here):
            self._on_open(breaker, ended.reason or breaker.circuit.reason)
