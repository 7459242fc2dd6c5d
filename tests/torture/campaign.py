"""One campaign: patients fall ill, processes are struck as planned, and at the end the evidence is collected."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import psutil
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from recovery.errors import StoreUnavailable
from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.torture import witness
from tests.torture.crew import Crew
from tests.torture.evidence import collect, reports_known
from tests.torture.hand import Hand, Hit
from tests.torture.house import House
from tests.torture.judge import Evidence
from tests.torture.ledger import lines
from tests.torture.mail import Mail
from tests.torture.patient import Patient
from tests.torture.plan import Strike, Target
from tests.torture.points import GAP, Action, Struck

REACH_TIMEOUT = 15.0
"""Seconds in which some process must pass a boundary; then the order is taken back and laid once more."""
TRIES = 3
"""How often an order is laid."""
MOST_FROZEN = 2
"""Processes that sleep at the same time; more would only wait for each other."""
IDLE_TIMEOUT = 60.0
"""Seconds to wait for a patient that is well; the judge says why there was none."""
SETTLE_TIMEOUT = 120.0
"""Seconds in which everything must be over after the last strike."""
EVERY = 0.05
"""Seconds between two looks."""


@dataclass
class Record:
    """What a campaign did."""

    hits: list[Hit] = field(default_factory=list)
    unreached: list[Strike] = field(default_factory=list)
    """Strikes for which no process came by."""
    began: float = 0.0
    ended: float = 0.0
    settled: float = 0.0
    """Seconds from the last strike until everything was over."""
    restarts: int = 0
    evidence: Evidence = field(default_factory=Evidence)


class Campaign:
    """Runs in a thread of its own; the main thread keeps the crew alive meanwhile, because only it may start processes.

    Args:
        house: where everything is.
        crew: the processes.
        strikes: the plan.
        until: monotonic seconds at which to stop striking, None: at the end of the plan.
        say: told what happens.
    """

    def __init__(self, house: House, crew: Crew, strikes: Iterator[Strike], until: float | None, say: Callable[[str], None]) -> None:
        migrate(house.settings.database)
        self.record = Record()
        self._house = house
        self._crew = crew
        self._strikes = strikes
        self._until = until
        self._say = say
        self._store = SqlStore.open(house.settings.database)
        witness.post(self._engine)
        self.hand = Hand(house, crew, self._engine)
        self._mail: Mail | None = None
        self._rota = list(house.patients.values())
        self._read_struck = 0
        self._unfinished: list[str] = []
        self._stop = threading.Event()
        self._error: BaseException | None = None

    @property
    def _engine(self) -> Engine:
        return self._store.engine

    def run(self) -> Record:
        """Strike, let everything settle, collect the evidence; meanwhile keep the crew alive and wake the frozen.

        Call it from the main thread, with the crew started.
        """
        thread = threading.Thread(target=self._guarded, name="campaign")
        thread.start()
        try:
            while thread.is_alive():
                self._crew.tend()
                self.hand.thaw()
                thread.join(EVERY)
        finally:
            self._stop.set()
            self.hand.thaw(everything=True)
            thread.join()
            if self._mail:
                self._mail.close()
        if self._error:
            raise self._error
        self.record.restarts = sum(part.starts - 1 for part in self._crew.parts.values())
        assert self._mail
        self.record.evidence = collect(self._house, self._engine, self._mail.delivered, self._unfinished)
        dispose(self._engine)
        return self.record

    def _guarded(self) -> None:
        try:
            self._mail = Mail(self._house.settings.redis)
            self.record.began = time.time()
            for strike in self._strikes:
                if self._stop.is_set() or (self._until and time.monotonic() > self._until):
                    break
                self._carry_out(strike)
                if strike.number % 20 == 0:
                    self._say(f"{strike.number} strikes, {time.time() - self.record.began:.0f} s")
            self.record.ended = time.time()
            self._settle()
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            self._error = error

    # --- striking ---

    def _carry_out(self, strike: Strike) -> None:
        self._await(lambda: self.hand.frozen < MOST_FROZEN, IDLE_TIMEOUT)
        if strike.alone:
            self._await(self._crew.strong, IDLE_TIMEOUT)
        if strike.target is not Target.BOUNDARY:
            self._from_outside(strike)
            return
        for _ in range(TRIES):
            if self._stop.is_set() or self._at_boundary(strike):
                return
        self.record.unreached.append(strike)

    def _from_outside(self, strike: Strike) -> None:
        rng = Random(strike.number)
        self._sicken(strike.dwell)
        self._stop.wait(strike.delay)
        hit: list[Hit] = []

        def struck() -> bool:
            hit.extend(filter(None, [self.hand.strike(strike, rng)]))
            return bool(hit)

        if self._await(struck, REACH_TIMEOUT):
            self._note(hit)
        else:
            self.record.unreached.append(strike)

    def _at_boundary(self, strike: Strike) -> bool:
        assert strike.boundary
        orders = self._house.orders
        if strike.first:
            orders.arm(strike.first, strike.number, Action.KILL)
        orders.arm(strike.boundary, strike.number, strike.action)
        self._sicken(strike.dwell, knows_fences=True if strike.boundary == GAP else None)
        fresh: list[Hit] = []

        def reached() -> bool:
            fresh.extend(self._fresh_hits(strike))
            return any(hit.boundary == str(strike.boundary) for hit in fresh)

        found = self._await(reached, REACH_TIMEOUT) or (not self._took_back(strike) and self._await(reached, REACH_TIMEOUT))
        self._note(fresh)
        return found

    def _note(self, hits: list[Hit]) -> None:
        """Note what was struck, and wait until it is dead: last words come before death, and a signal before its effect."""
        self.record.hits += hits
        self._await(lambda: not any(_lives(pid) for hit in hits for pid in hit.dying), REACH_TIMEOUT)

    def _took_back(self, strike: Strike) -> bool:
        """Take the orders of a strike back; False if somebody has just taken the one that counts."""
        if strike.first:
            self._house.orders.disarm(strike.first)
        return strike.boundary is not None and self._house.orders.disarm(strike.boundary)

    def _fresh_hits(self, strike: Strike) -> list[Hit]:
        struck = list(lines(self._house.orders.struck))
        fresh, self._read_struck = struck[self._read_struck :], len(struck)
        words = [Struck(**{**line, "action": Action(str(line["action"]))}) for line in fresh]  # type: ignore[arg-type] # our own lines
        return [self.hand.struck(one, strike) for one in words]

    def _sicken(self, dwell: float, *, knows_fences: bool | None = None) -> None:
        """Make a patient ill that is well and left alone; rather one that has been left alone for long."""
        chosen: list[Patient] = []

        def found() -> bool:
            busy = {recovery.service for recovery in self._store.open_recoveries()}
            idle = [one for one in self._rota if one.name not in busy and one.well()]
            chosen.extend([one for one in idle if knows_fences in {None, one.fenced}][:1])
            return bool(chosen)

        if self._await(found, IDLE_TIMEOUT):
            patient = chosen[0]
            self._rota.remove(patient)
            self._rota.append(patient)
            patient.sicken(dwell)
            assert self._mail
            self._mail.report(patient.name)

    def _await(self, condition: Callable[[], bool], within: float) -> bool:
        """Wait for a condition; a database that is away counts as "not yet"."""
        deadline = time.monotonic() + within
        while not self._stop.is_set():
            try:
                if condition():
                    return True
            except (StoreUnavailable, SQLAlchemyError):
                pass
            if time.monotonic() > deadline:
                return False
            self._stop.wait(EVERY)
        return False

    # --- the end ---

    def _settle(self) -> None:
        """Wait until nothing is left to do, or until it should long have been."""
        self._await(lambda: self.hand.frozen == 0, SETTLE_TIMEOUT)
        self._await(lambda: not self._left(), SETTLE_TIMEOUT)
        self.record.settled = time.time() - self.record.ended
        self._unfinished = self._left()

    def _left(self) -> list[str]:
        """Return a sentence for everything that is still to be done."""
        assert self._mail
        now = time.time()
        said = [
            f"recovery {one.id} of {one.service} is {one.state} since {now - one.created_at.timestamp():.0f} s: {one.reason}"
            for one in self._store.open_recoveries()
        ]
        said += [f"{patient.name} is still ill" for patient in self._house.patients.values() if not patient.well()]
        if self._mail.waiting:
            said.append(f"{self._mail.waiting} reports could not be handed in")
        missing = set(self._mail.delivered) - set(reports_known(self._engine))
        return said + [f"{len(missing)} reports are not taken in"] * bool(missing)


def _lives(pid: int) -> bool:
    try:
        return pid > 0 and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
