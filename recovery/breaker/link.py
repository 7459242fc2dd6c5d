"""Keeps one process's breakers in step with the fleet: answers the breakers, and takes in what others changed.

Redis away: each process goes on by its own counts and the log says so once. Redis back: what was counted meanwhile arrives, what
Redis lost is restored from what the processes remember, and the fleet's state holds again.
"""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from recovery.breaker.caller import Breaker
from recovery.breaker.circuit import Admission
from recovery.breaker.dealings import Dealings, Opened
from recovery.breaker.fleet import Ended, Order
from recovery.breaker.linked import Linked
from recovery.breaker.reached import Reached
from recovery.breaker.shared import BREAKER_CHANGED, SharedCircuits
from recovery.breaker.snapshot import Snapshot, snapshot_of
from recovery.breaker.spoiled import Nonsense
from recovery.breaker.teller import Greeting, Teller, Vote

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger("recovery.breaker")


class FleetLink:
    """Connects the breakers of one process to Redis; a `Fleet` for its breakers and a `Listener` for the client's watch.

    Args:
        on_open: Told when a breaker opened because of this process.
    """

    channels = (BREAKER_CHANGED,)

    def __init__(self, on_open: Opened) -> None:
        self._reached = Reached()
        self._dealings = Dealings(self._reached, on_open)
        self._teller = Teller(self._dealings.report, self._dealings.summarize)
        self.renew()

    def renew(self) -> None:
        """Begin anew in a forked child."""
        self.process = self._dealings.process = f"{os.uname().nodename}:{os.getpid()}:{os.urandom(4).hex()}"
        """Who this is to the fleet."""
        self._teller.renew()
        self._reached.renew()

    def add(self, breaker: Breaker) -> None:
        """Connect a breaker, make it known to the fleet and learn soon how it stands there."""
        self._reached.linked[breaker.name] = Linked(breaker)
        self._teller.put(breaker, Greeting())

    # --- Fleet: called by breakers ---

    @property
    def connected(self) -> bool:
        """Say whether Redis answers."""
        return self._reached.shared is not None

    def hears(self, breaker: Breaker) -> bool:
        """Say whether the fleet hears of this breaker; if not, this process judges it alone."""
        return self._reached.shared_for(breaker) is not None

    def admit(self, breaker: Breaker, permit: str) -> Admission | None:
        """Ask Redis for a permit; None if it is away. The connection's timeout bounds the wait."""
        admission: Admission | None = None

        def ask(shared: SharedCircuits) -> Snapshot:
            nonlocal admission
            snapshot, admission = shared.admit(breaker.name, breaker.options, permit)
            return snapshot

        self._ask(breaker, ask)
        return admission

    def tell(self, breaker: Breaker, ended: Ended) -> None:
        """Report in the background how calls ended; never waits."""
        self._teller.put(breaker, ended)

    def vote(self, breaker: Breaker, reason: str | None) -> None:
        """Report in the background that this process opened it for itself, None: it closed it again."""
        self._teller.put(breaker, Vote(reason))

    def order(self, breaker: Breaker, order: Order) -> bool:
        """Let a person's order count for all; False if Redis is away. The connection's timeout bounds the wait."""
        why = f"the program {self.process} says so"
        return self._ask(breaker, lambda shared: shared.operate(breaker.name, order, options=breaker.options, reason=why))

    def close(self, timeout: float) -> None:
        """Report what waits, for at most `timeout` seconds, and end the thread; breakers that are used after this go on alone."""
        self._teller.close(timeout)
        self._reached.close()

    def _ask(self, breaker: Breaker, ask: Callable[[SharedCircuits], Snapshot]) -> bool:
        """Ask Redis on the caller's thread and let the breaker stand as it answers; False if it does not."""
        shared = self._reached.shared_for(breaker)
        if shared is None:
            return False
        try:
            snapshot = ask(shared)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, the caller gets an answer
            self._reached.failed(breaker, error)
            return False
        self._reached.apply(snapshot)
        return True

    # --- Listener: called by the watch ---

    def load(self, redis: "Redis") -> None:
        """Take in how all breakers stand; after an absence first bring together what each side has seen alone."""
        if self._reached.linked:
            self._teller.start()  # in a forked child nobody else did
        shared = self._reached.shared
        if shared is not None:
            self._look(shared)
            return
        shared = SharedCircuits(redis, self.process)
        for linked in self._reached.all():
            with self._reached.costing_it_alone(linked):
                self._dealings.merge(shared, linked)
        self._reached.back(shared)
        for linked in self._reached.all():
            self._dealings.tell_rest(linked.breaker)

    def hear(self, message: bytes, _redis: "Redis") -> None:
        """Take in one pushed change."""
        try:
            snapshot = snapshot_of(message)
        except Nonsense:
            log.warning("left out what is no news of a breaker: %.200r", message)
            return
        if snapshot.name in self._reached.linked:
            self._reached.apply(snapshot)

    def away(self, error: Exception) -> None:
        """Note that Redis cannot be reached: breakers go on alone."""
        self._reached.away(error)

    def _look(self, shared: SharedCircuits) -> None:
        """Ask for the breakers that changed without a push being heard, that time may have moved on, or that stand otherwise here."""
        linked = self._reached.all()
        names = [each.breaker.name for each in linked]
        if names:
            with self._reached.costing_the_list_alone():
                shared.enlist(names)
        versions = shared.versions(names)
        for each, version in zip(linked, versions, strict=True):
            with self._reached.costing_it_alone(each):
                self._look_at(shared, each, version)

    def _look_at(self, shared: SharedCircuits, linked: Linked, version: int) -> None:
        heard = linked.heard
        if linked.spoiled or not linked.asked or heard is None or not version or version < heard.view.version:
            self._dealings.merge(shared, linked)
        elif version != heard.view.version or not linked.is_at_rest():
            snapshot = shared.view(linked.breaker.name)
            if snapshot is not None:
                self._reached.apply(snapshot)
