"""Keeps one process's breakers in step with the fleet: tells in the background how calls ended, takes in what others changed.

Redis away: each process goes on by its own counts and the log says so once. Redis back: what was counted meanwhile arrives, what
Redis lost is restored from what the processes remember, and the fleet's state holds again.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING

from recovery.breaker.caller import Breaker
from recovery.breaker.circuit import Admission
from recovery.breaker.fleet import Ended, FleetView, Order
from recovery.breaker.linked import Linked
from recovery.breaker.shared import BREAKER_CHANGED, SharedCircuits, Snapshot, key_of, snapshot_of
from recovery.breaker.spoiled import is_about_one_key
from recovery.breaker.teller import Greeting, News, Teller, Vote

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("recovery.breaker")

VOTE = 10.0
"""Seconds after which the vote of a process that died no longer counts; the living renew theirs in every round of the teller."""

Opened = Callable[[Breaker, str], None]
"""Called in the background, with the reason, by the one process that opened a breaker."""


class FleetLink:
    """Connects the breakers of one process to Redis; a `Fleet` for its breakers and a `Listener` for the client's watch.

    Args:
        on_open: Told when a breaker opened because of this process.
    """

    channels = (BREAKER_CHANGED,)

    def __init__(self, on_open: Opened) -> None:
        self._on_open = on_open
        self._linked: dict[str, Linked] = {}
        self._teller = Teller(self._report, self._summarize)
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self.process = f"{os.uname().nodename}:{os.getpid()}:{os.urandom(4).hex()}"
        """Who this is to the fleet."""
        self._shared: SharedCircuits | None = None
        self._hearing = RLock()
        self._teller.renew()
        self._said_away = self._closed = False
        for linked in self._linked.values():
            linked.asked = False
            linked.breaker.renew()

    def add(self, breaker: Breaker) -> None:
        """Connect a breaker, make it known to the fleet and learn soon how it stands there."""
        self._linked[breaker.name] = Linked(breaker)
        self._teller.put(breaker, Greeting())

    # --- Fleet: called by breakers ---

    @property
    def connected(self) -> bool:
        """Say whether Redis answers."""
        return self._shared is not None

    def hears(self, breaker: Breaker) -> bool:
        """Say whether the fleet hears of this breaker; if not, this process judges it alone."""
        return self._shared_for(breaker) is not None

    def admit(self, breaker: Breaker, permit: str) -> Admission | None:
        """Ask Redis for a permit; None if it is away. The connection's timeout bounds the wait."""
        shared = self._shared_for(breaker)
        if shared is None:
            return None
        try:
            snapshot, admission = shared.admit(breaker.name, breaker.options, permit)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the caller gets an answer
            self._failed(breaker, error)
            return None
        self._apply(snapshot)
        return admission

    def tell(self, breaker: Breaker, ended: Ended) -> None:
        """Report in the background how calls ended; never waits."""
        self._teller.put(breaker, ended)

    def vote(self, breaker: Breaker, reason: str | None) -> None:
        """Report in the background that this process opened it for itself, None: it closed it again."""
        self._teller.put(breaker, Vote(reason))

    def order(self, breaker: Breaker, order: Order) -> bool:
        """Let a person's order count for all; False if Redis is away. The connection's timeout bounds the wait."""
        shared = self._shared_for(breaker)
        if shared is None:
            return False
        try:
            snapshot = shared.operate(breaker.name, order, options=breaker.options, reason=f"the program {self.process} says so")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the caller gets an answer
            self._failed(breaker, error)
            return False
        self._apply(snapshot)
        return True

    def close(self, timeout: float) -> None:
        """Report what waits, for at most `timeout` seconds, and end the thread; breakers that are used after this go on alone."""
        self._teller.close(timeout)
        self._closed = True
        self._shared = None

    # --- Listener: called by the watch ---

    def load(self, redis: "Redis") -> None:
        """Take in how all breakers stand; after an absence first bring together what each side has seen alone."""
        if self._linked:
            self._teller.start()  # in a forked child nobody else did
        shared = self._shared
        if shared is not None:
            self._look(shared)
            return
        shared = SharedCircuits(redis, self.process)
        for linked in list(self._linked.values()):
            with self._costing_it_alone(linked):
                self._merge(shared, linked)
        if self._said_away:
            self._said_away = False
            log.warning("Redis answers again: breakers are shared with the fleet again")
        self._shared = None if self._closed else shared
        for linked in list(self._linked.values()):
            self._put_rest(linked.breaker)

    def hear(self, message: bytes, _redis: "Redis") -> None:
        """Take in one pushed change."""
        try:
            snapshot = snapshot_of(message)
        except (ValueError, KeyError, TypeError):
            log.warning("left out what is no news of a breaker: %.200r", message)
            return
        if snapshot.name in self._linked:
            self._apply(snapshot)

    def away(self, error: Exception) -> None:
        """Note that Redis cannot be reached: breakers go on alone."""
        was_there, self._shared = self._shared is not None, None
        if was_there:
            for linked in list(self._linked.values()):
                linked.breaker.went_alone()
        if self._linked and not self._said_away and not self._closed:
            self._said_away = True
            log.warning("Redis does not answer (%s): breakers go on with what this process sees alone", type(error).__name__)

    def _shared_for(self, breaker: Breaker) -> SharedCircuits | None:
        linked = self._linked.get(breaker.name)
        return None if linked is None or linked.spoiled else self._shared

    def _failed(self, breaker: Breaker, error: Exception) -> None:
        """Let this breaker go on alone if the error is about its keys, else all."""
        if not is_about_one_key(error):
            self.away(error)
            return
        linked = self._linked[breaker.name]
        was_spoiled, linked.spoiled = linked.spoiled, True
        if not was_spoiled:
            log.error("breaker '%s' goes on alone: something foreign lies under %s (%s)", breaker.name, key_of(breaker.name), error)
            breaker.went_alone()

    @contextmanager
    def _costing_it_alone(self, linked: Linked) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not is_about_one_key(error):
                raise
            self._failed(linked.breaker, error)

    def _put_rest(self, breaker: Breaker) -> None:
        """Tell what was counted between the merge and the moment from which the fleet hears again."""
        rest = breaker.take_unheard()
        if rest is not None:
            self._teller.put(breaker, rest)

    def _look(self, shared: SharedCircuits) -> None:
        """Ask for the breakers that changed without a push being heard, or that time may have moved on."""
        linked = list(self._linked.values())
        versions = shared.versions(each.breaker.name for each in linked)
        for each, version in zip(linked, versions, strict=True):
            with self._costing_it_alone(each):
                self._look_at(shared, each, version)

    def _look_at(self, shared: SharedCircuits, linked: Linked, version: int) -> None:
        heard = linked.heard
        if linked.spoiled or not linked.asked or heard is None or not version or version < heard.view.version:
            self._merge(shared, linked)
        elif version != heard.view.version or heard.circuit.state != "closed":
            snapshot = shared.view(linked.breaker.name)
            if snapshot is not None:
                self._apply(snapshot)

    def _merge(self, shared: SharedCircuits, linked: Linked) -> None:
        breaker, opened = linked.breaker, False
        self._report_alone(breaker)
        calls, view = breaker.take_unheard(), None
        try:
            snapshot, opened = shared.merge(breaker.name, breaker.options, linked.heard, linked.probed_in(time.monotonic()), calls)
            view = self._hear(snapshot)
            linked.asked, was_spoiled, linked.spoiled = True, linked.spoiled, False
        finally:
            if calls is not None:
                breaker.answered(calls, view)
        breaker.apply(view)
        if was_spoiled:
            self._put_rest(breaker)
            log.warning("breaker '%s' is shared with the fleet again", breaker.name)
        if opened and not (calls and calls.tripped):  # what was opened alone is reported already
            self._on_open(breaker, snapshot.circuit.reason)

    def _hear(self, snapshot: Snapshot) -> FleetView:
        """Remember the newest of what was heard and return it: an answer may come after the push of a later change."""
        linked = self._linked[snapshot.name]
        with self._hearing:
            if linked.heard is None or snapshot.view.version >= linked.heard.view.version:
                linked.heard, linked.heard_at = snapshot, time.monotonic()
            return linked.heard.view

    def _apply(self, snapshot: Snapshot) -> None:
        self._linked[snapshot.name].breaker.apply(self._hear(snapshot))

    # --- called by the teller, in its thread ---

    def _summarize(self) -> None:
        """Tell of successes, renew votes, and report what this process opened while nobody else could."""
        for linked in list(self._linked.values()):
            breaker, things = linked.breaker, list[News]()
            if self.hears(breaker):
                if (summary := breaker.take_summary()) is not None:
                    things.append(summary)
                if (reason := breaker.standing_vote()) is not None:
                    things.append(Vote(reason))
            self._report(breaker, things)

    def _greet(self, linked: Linked) -> None:
        """Learn how a new breaker stands, if the next look has not told already."""
        shared = self._shared
        if shared is not None and not linked.asked:
            try:
                self._merge(shared, linked)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the breaker begins with what this process sees
                self._failed(linked.breaker, error)

    def _report(self, breaker: Breaker, things: Sequence[News]) -> None:
        name, options, calls = breaker.name, breaker.options, list[Ended]()
        for thing in things:
            if isinstance(thing, Greeting):
                self._greet(self._linked[name])
            elif isinstance(thing, Vote):
                seconds, reason = (0.0, "") if thing.reason is None else (VOTE, thing.reason)
                self._exchange(
                    breaker,
                    (),
                    partial(SharedCircuits.vote, name=name, options=options, process=self.process, seconds=seconds, reason=reason),
                )
            elif thing.permit:
                self._exchange(
                    breaker,
                    [thing],
                    partial(
                        SharedCircuits.probed, name=name, options=options, result=thing.result, permit=thing.permit, reason=thing.reason
                    ),
                )
            else:
                calls.append(thing)
        self._count(breaker, calls)
        if (merged := breaker.take_merged()) is not None:
            self._count(breaker, [merged])
        self._report_alone(breaker)

    def _count(self, breaker: Breaker, calls: Sequence[Ended]) -> None:
        if calls:
            self._exchange(breaker, calls, partial(SharedCircuits.tell, name=breaker.name, options=breaker.options, calls=calls))

    def _report_alone(self, breaker: Breaker) -> None:
        """Report once what this process opened while the fleet could not hear of it."""
        if not self.hears(breaker) and (reason := breaker.take_opening()):
            self._on_open(breaker, reason)

    def _exchange(self, breaker: Breaker, calls: Sequence[Ended], ask: Callable[[SharedCircuits], tuple[Snapshot, bool]]) -> None:
        """Ask Redis, let the breaker know what became of these calls, and report an opening."""
        shared, view, opened, reason = self._shared_for(breaker), None, False, ""
        if shared is not None:
            try:
                snapshot, opened = ask(shared)
                view, reason = self._hear(snapshot), snapshot.circuit.reason
            except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, this process's own count holds
                self._failed(breaker, error)
        for each in calls:
            breaker.answered(each, view)
        if view is not None and not calls:
            breaker.apply(view)
        if opened:
            breaker.take_opening()
            self._on_open(breaker, reason)
