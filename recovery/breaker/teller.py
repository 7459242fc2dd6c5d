"""One thread that carries what breakers have to tell to the fleet, so that no caller waits for it."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, NamedTuple

from recovery.breaker.fleet import Ended

if TYPE_CHECKING:
    from recovery.breaker.caller import Breaker

log = logging.getLogger("recovery.breaker")

SUMMARY = 1.0
"""Seconds between two rounds of what is told without a cause: summaries of successes."""
MOST = 200
"""Things told at once: bounds how long one script keeps Redis from others, to about a millisecond."""


class Vote(NamedTuple):
    """This process's own opening under a quorum."""

    reason: str | None
    """None: it closed again."""


class Greeting(NamedTuple):
    """That this process uses the breaker from now on, and wants to know how it stands."""


News = Ended | Vote | Greeting


class Told(NamedTuple):
    """One thing to tell."""

    breaker: "Breaker"
    what: News


class Teller:
    """Hands over what it is given, in order, what belongs to one breaker together; its thread starts with the first thing.

    Args:
        report: Tells the fleet of things of one breaker, in order; called in the thread.
        each_round: Called in the thread about once a second, and at the end.
    """

    def __init__(self, report: "Callable[[Breaker, Sequence[News]], None]", each_round: Callable[[], None]) -> None:
        self._report = report
        self._round = each_round
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self._told: SimpleQueue[Told | None] = SimpleQueue()
        self._starting = Lock()
        self._thread: Thread | None = None
        self._closed = False

    def put(self, breaker: "Breaker", what: News) -> None:
        """Hand over one thing; never waits. After the end it is left out: nobody would ever take it."""
        if not self._closed:
            self._told.put(Told(breaker, what))
            self.start()

    def start(self) -> None:
        """Start the thread, unless it runs or cannot be had now: a call through a breaker must not fail for it."""
        if self._thread is None and self._starting.acquire(blocking=False):  # else somebody does, maybe who this signal handler interrupted
            try:
                if self._thread is None:
                    thread = Thread(target=self._run, name="recovery-breakers", daemon=True)
                    with suppress(RuntimeError):
                        thread.start()
                        self._thread = thread
            finally:
                self._starting.release()

    def close(self, timeout: float) -> None:
        """Tell what waits, for at most `timeout` seconds, and end the thread."""
        self._closed, thread = True, self._thread
        if thread is not None:
            self._told.put(None)
            thread.join(timeout)

    def _run(self) -> None:
        round_at, ended = time.monotonic() + SUMMARY, False
        while not ended:
            told = self._wait(round_at)
            ended = None in told
            for breaker, its in groupby((each for each in told if each is not None), key=lambda each: each.breaker):
                self._guarded(breaker.name, partial(self._report, breaker, [each.what for each in its]))
            if ended or time.monotonic() >= round_at:
                round_at = time.monotonic() + SUMMARY
                self._guarded("all", self._round)

    def _wait(self, until: float) -> list[Told | None]:
        """Return what there is to tell, at most `MOST`; nothing once it is time for a round."""
        told: list[Told | None] = []
        try:
            told.append(self._told.get(timeout=max(0.0, until - time.monotonic())))
            while len(told) < MOST and told[-1] is not None:
                told.append(self._told.get_nowait())
        except Empty:
            pass
        return told

    def _guarded(self, name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception:
            log.exception("what breaker '%s' has to tell the fleet could not be told", name)
