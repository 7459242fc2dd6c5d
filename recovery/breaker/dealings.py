"""What one process tells the fleet of its breakers, in the background: calls, probes, votes, and what it has seen alone."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from recovery.breaker.fleet import Ended
from recovery.breaker.linked import Linked
from recovery.breaker.reached import Reached
from recovery.breaker.shared import SharedCircuits
from recovery.breaker.snapshot import Snapshot
from recovery.breaker.teller import Greeting, News, Vote

if TYPE_CHECKING:
    from recovery.breaker.caller import Breaker

log = logging.getLogger("recovery.breaker")

VOTE = 10.0
"""Seconds after which the vote of a process that died no longer counts; the living renew theirs in every round of the teller."""

Opened = Callable[["Breaker", str], None]
"""Called in the background, with the reason, by the one process that opened a breaker."""


class Dealings:
    """Tells Redis, gives each breaker the answers, and reports the openings that this process made.

    Args:
        reached: What can be told to whom.
        on_open: Told when a breaker opened because of this process.
    """

    def __init__(self, reached: Reached, on_open: Opened) -> None:
        self._reached = reached
        self._on_open = on_open
        self.process = ""
        """Who this is to the fleet."""

    def merge(self, shared: SharedCircuits, linked: Linked) -> None:
        """Bring together what a breaker and the fleet have seen of each other's absence. Raises what redis-py raises."""
        breaker, opened = linked.breaker, False
        self._report_alone(breaker)
        calls, view = breaker.take_unheard(), None
        try:
            snapshot, opened = shared.merge(breaker.name, breaker.options, linked.heard, linked.probed_in(time.monotonic()), calls)
            view = self._reached.hear(snapshot)
            linked.asked, was_spoiled, linked.spoiled = True, linked.spoiled, False
        finally:
            if calls is not None:
                breaker.answered(calls, view)
        breaker.apply(view)
        if was_spoiled:
            self.tell_rest(breaker)
            log.warning("breaker '%s' is shared with the fleet again", breaker.name)
        if opened and not (calls and calls.tripped):  # what was opened alone is reported already
            self._on_open(breaker, snapshot.circuit.reason)

    def tell_rest(self, breaker: "Breaker") -> None:
        """Tell what was counted between a merge and the moment from which the fleet hears again."""
        rest = breaker.take_unheard()
        if rest is not None:
            self._count(breaker, [rest])

    # --- called by the teller, in its thread ---

    def summarize(self) -> None:
        """Tell of successes, renew votes, and report what this process opened while nobody else could."""
        for linked in self._reached.all():
            breaker, things = linked.breaker, list[News]()
            if self._reached.shared_for(breaker) is not None:
                if (summary := breaker.take_summary()) is not None:
                    things.append(summary)
                if (reason := breaker.standing_vote()) is not None:
                    things.append(Vote(reason))
            self.report(breaker, things)

    def report(self, breaker: "Breaker", things: Sequence[News]) -> None:
        """Tell the fleet of things of one breaker: votes and probes in their order, then all its calls together."""
        calls = list[Ended]()
        for thing in things:
            if isinstance(thing, Greeting):
                self._greet(self._reached.linked[breaker.name])
            elif isinstance(thing, Vote):
                self._vote(breaker, thing)
            elif thing.permit:
                self._end_probe(breaker, thing)
            else:
                calls.append(thing)
        self._count(breaker, calls)
        if (merged := breaker.take_merged()) is not None:
            self._count(breaker, [merged])
        self._report_alone(breaker)

    def _greet(self, linked: Linked) -> None:
        """Learn how a new breaker stands, if the next look has not told already."""
        shared = self._reached.shared
        if shared is not None and not linked.asked:
            try:
                self.merge(shared, linked)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the breaker begins with what this process sees
                self._reached.failed(linked.breaker, error)

    def _vote(self, breaker: "Breaker", vote: Vote) -> None:
        seconds, reason = (0.0, "") if vote.reason is None else (VOTE, vote.reason)
        ask = partial(SharedCircuits.vote, name=breaker.name, options=breaker.options, process=self.process, seconds=seconds, reason=reason)
        self._exchange(breaker, (), ask)

    def _end_probe(self, breaker: "Breaker", ended: Ended) -> None:
        ask = partial(
            SharedCircuits.probed,
            name=breaker.name,
            options=breaker.options,
            result=ended.result,
            permit=ended.permit,
            reason=ended.reason,
        )
        self._exchange(breaker, [ended], ask)

    def _count(self, breaker: "Breaker", calls: Sequence[Ended]) -> None:
        if calls:
            self._exchange(breaker, calls, partial(SharedCircuits.tell, name=breaker.name, options=breaker.options, calls=calls))

    def _report_alone(self, breaker: "Breaker") -> None:
        """Report once what this process opened while the fleet could not hear of it."""
        if self._reached.shared_for(breaker) is None and (reason := breaker.take_opening()):
            self._on_open(breaker, reason)

    def _exchange(self, breaker: "Breaker", calls: Sequence[Ended], ask: Callable[[SharedCircuits], tuple[Snapshot, bool]]) -> None:
        """Ask Redis, let the breaker know what became of these calls, and report an opening."""
        shared, view, opened, reason = self._reached.shared_for(breaker), None, False, ""
        if shared is not None:
            try:
                snapshot, opened = ask(shared)
                view, reason = self._reached.hear(snapshot), snapshot.circuit.reason
            except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, this process's own count holds
                self._reached.failed(breaker, error)
        for each in calls:
            breaker.answered(each, view)
        if view is not None and not calls:
            breaker.apply(view)
        if opened:
            breaker.take_opening()
            self._on_open(breaker, reason)
