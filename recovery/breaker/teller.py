"""One thread that carries what breakers have to tell to the fleet, so that no caller waits for it."""

import logging
import time
from collections.abc import Callable, Sequence
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


class Told(NamedTuple):
    """One thing to tell."""

    breaker: "Breaker"
    what: Ended | Vote


class Teller:
    """Hands over what it is given, in order, what belongs to one breaker together; its thread starts with the first thing.

    Args:
        report: Tells the fleet of things of one breaker, in order; called in the thread.
        each_round: Called in the thread about once a second, and at the end.
    """

    def __init__(self, report: "Callable[[Breaker, Sequence[Ended | Vote]], None]", each_round: Callable[[], None]) -> None:
        self._report = report
        self._round = each_round
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self._told: SimpleQueue[Told | None] = SimpleQueue()
        self._starting = Lock()
        self._thread: Thread | None = None

    def put(self, breaker: "Breaker", what: Ended | Vote) -> None:
        """Hand over one thing; never waits."""
        self._told.put(Told(breaker, what))
        self.start()

    def start(self) -> None:
        """Start the thread, unless it runs."""
        if self._thread is None:
            with self._starting:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="recovery-breakers", daemon=True)
                    self._thread.start()

    def close(self, timeout: float) -> None:
        """Tell what waits, for at most `timeout` seconds, and end the thread."""
        thread = self._thread
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
