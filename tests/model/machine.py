"""What may happen in both worlds, in any order: a Hypothesis state machine."""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from recovery.engine.silencing import Wish
from recovery.models import Answer, ServiceState, Severity, SilenceKind, Status
from recovery.store.sql import SqlStore
from tests.model.process import LIVES, End, Fate
from tests.model.side import CATEGORIES, SERVICES, STRATEGIES, Side
from tests.model.twins import Twins, carry_out, restore, tick, tick_and_work

T = TypeVar("T")


def fates(latest: int) -> st.SearchStrategy[Fate]:
    """Return what may become of a process that has about `latest` moments."""
    return st.one_of(st.just(LIVES), st.builds(Fate, st.integers(1, latest), st.sampled_from(End)))


FATES = fates(20)
ONE = st.sampled_from(SERVICES)
WHICH = st.integers(0, 7)
"""Chooses one of what there is, the newest first."""
CURES = st.sampled_from([None, "", *STRATEGIES])
"""What a service falls ill of: nothing at all, what no strategy cures, or what one of them does."""
RARELY = st.sampled_from([False, False, False, True])

ROUND = timedelta(seconds=30)
PATIENCE = 40
"""Rounds after the last fault in which everything must have closed: twenty minutes."""


class Machine(RuleBasedStateMachine):
    """Two worlds in which everything happens that may happen."""

    database: ClassVar[SqlStore]
    reached: ClassVar[Counter[str]] = Counter()
    """What happened in all stories so far: ways from state to state, guards that decided, side effects, deaths."""

    def __init__(self) -> None:
        super().__init__()
        self.twins = Twins(self.database)
        self.sound = True
        self.reported: list[tuple[str, str]] = []
        self.silences: list[str] = []
        self.logs = capture_logs()
        self.twins.log = self.logs.__enter__()

    # -- what comes in

    @initialize(service=ONE, cure=CURES)
    def begin(self, service: str, cure: str | None) -> None:
        self.report(service, CATEGORIES[0], cure, again=False, late=0, fate=LIVES)

    @rule(service=ONE, category=st.sampled_from(CATEGORIES), cure=CURES, again=RARELY, late=st.sampled_from([0, 0, 5, 600]), fate=FATES)
    def report(self, service: str, category: str, cure: str | None, again: bool, late: int, fate: Fate) -> None:
        if not (again and self.reported):
            self.reported.append((f"failure-{len(self.reported)}", service))
        failure_id, service = self.reported[-1]
        self.fall_ill(service, cure)
        if not late:
            self._see(service)
        payload = self._payload(failure_id, service, category, late)
        self.twins.both(lambda side: side.advance(side.desk.report(payload).recovery.id), fate)

    @rule(services=st.lists(ONE, min_size=2, max_size=3), severity=st.sampled_from([Severity.CRITICAL, Severity.LOW]), fate=FATES)
    def report_many(self, services: list[str], severity: Severity, fate: Fate) -> None:
        first = len(self.reported)
        self.reported += [(f"failure-{first + place}", service) for place, service in enumerate(services)]
        payloads = [self._payload(*name, CATEGORIES[0], 0) | {"severity": severity} for name in self.reported[first:]]
        self.twins.both(lambda side: [getattr(one, "intake", one) for one in side.desk.report_many(payloads)], fate)

    @rule(service=ONE, strategy=st.sampled_from([None, *STRATEGIES]), force=st.booleans(), dry_run=RARELY, fate=FATES)
    def trigger(self, service: str, strategy: str | None, force: bool, dry_run: bool, fate: Fate) -> None:
        def work(side: Side) -> object:
            return side.advance(side.desk.trigger(service, strategy, force=force, dry_run=dry_run).recovery.id)

        self.twins.both(work, fate)

    # -- what people say

    @precondition(lambda self: self.twins.open())
    @rule(which=WHICH, fate=FATES)
    def cancel(self, which: int, fate: Fate) -> None:
        recovery_id = _one(self.twins.open(), which)
        self.twins.both(lambda side: side.advance(side.desk.cancel(recovery_id, "enough").id), fate)

    @precondition(lambda self: self.twins.asked())
    @rule(which=WHICH, answer=st.sampled_from(Answer), fate=FATES)
    def answer(self, which: int, answer: Answer, fate: Fate) -> None:
        recovery_id = _one(self.twins.asked(), which)
        self.twins.both(lambda side: side.advance(side.consent.answer(recovery_id, answer, "ann").recovery_id), fate)

    @rule(service=ONE, kind=st.sampled_from([SilenceKind.SILENCE, SilenceKind.DEPLOY, SilenceKind.KILL_SWITCH]))
    def silence(self, service: str, kind: SilenceKind) -> None:
        if kind is SilenceKind.KILL_SWITCH:
            self.twins.both(lambda side: side.silencing.pause("ann", "stop"))
            return
        name, until = f"silence-{len(self.silences)}", self.twins.air.now + timedelta(minutes=2)
        self.silences.append(name)
        self.twins.both(lambda side: side.silencing.put(Wish("ann", "because", until, (service,), kind=kind, id=name)))

    @precondition(lambda self: self.silences)
    @rule(which=WHICH)
    def lift(self, which: int) -> None:
        name = _one(self.silences, which)
        self.twins.both(lambda side: side.silencing.lift(name, "ann"))

    @precondition(lambda self: self.twins.paused())
    @rule()
    def resume(self) -> None:
        self.twins.both(lambda side: side.silencing.resume("ann"))

    # -- what the platform does

    @precondition(lambda self: self.twins.known)
    @rule(which=WHICH, fate=FATES)
    def advance(self, which: int, fate: Fate) -> None:
        recovery_id = _one(self.twins.known, which)
        self.twins.both(lambda side: side.advance(recovery_id), fate)

    @precondition(lambda self: self.twins.mail)
    @rule(fate=fates(45))
    def deliver(self, fate: Fate) -> None:
        self._deliver(0, fate)

    @precondition(lambda self: self.twins.mail)
    @rule(which=WHICH, fate=fates(45))
    def deliver_again(self, which: int, fate: Fate) -> None:
        self._deliver(which, fate)

    @rule(service=ONE, at=st.integers(1, 4), call=st.sampled_from(["holds", "begin_attempt", "journal", "finish_attempt"]))
    def replace_a_frozen_worker(self, service: str, at: int, call: str) -> None:
        """Let a worker sleep until another one has its lease and has done its work."""
        asleep = len(self.twins.frozen)
        self._give_work(service, Fate(at, End.FREEZES, call))
        self.work_it_off(11)
        self._wake_from(asleep)

    @precondition(lambda self: self.twins.open())
    @rule(which=WHICH, seconds=st.sampled_from([0, 11]))
    def outrun_a_coordinator(self, which: int, seconds: float) -> None:
        """Let somebody decide, and sleep until others have gone on."""
        asleep, recovery_id = len(self.twins.frozen), _one(self.twins.open(), which)
        self.twins.both(lambda side: side.advance(recovery_id), Fate(1, End.FREEZES, "transition"))
        self.work_it_off(seconds)
        self._wake_from(asleep)

    def _wake_from(self, asleep: int) -> None:
        if len(self.twins.frozen) > asleep:
            self.twins.go_on(self.twins.frozen.pop(asleep))

    @rule(service=ONE, at=st.integers(5, 40), seconds=st.sampled_from([0, 11]))
    def replace_a_lost_worker(self, service: str, at: int, seconds: float) -> None:
        """Let a worker die; with 11 s, its lease runs out and another one goes on."""
        self._give_work(service, Fate(at))
        self.work_it_off(seconds)

    def _give_work(self, service: str, fate: Fate) -> None:
        """Let a worker meet its fate at what may run on `service` now."""
        self.trigger(service, None, force=True, dry_run=False, fate=LIVES)
        if self.twins.mail:
            self._deliver(0, fate)

    def _deliver(self, which: int, fate: Fate) -> None:
        message = _one(self.twins.mail, which)
        self.twins.both(lambda side: carry_out(side, message), fate)

    @rule(fate=FATES)
    def tick(self, fate: Fate) -> None:
        self.twins.both(tick, fate)

    @rule(seconds=st.sampled_from([0, 1, 11, 31]))
    def work_it_off(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.twins.both(tick_and_work)

    @rule(service=ONE, well=RARELY, flapping=RARELY, since=st.sampled_from([0, 120]), fate=FATES)
    def sweep(self, service: str, well: bool, flapping: bool, since: int, fate: Fate) -> None:
        if well:
            self.fall_ill(service, None)
        self._see(service, flapping=flapping, since=since)
        self.twins.both(restore, fate)

    def _see(self, service: str, *, flapping: bool = False, since: int = 0) -> None:
        now = self.twins.air.now
        status = Status.UNHEALTHY if service in self.twins.sides[0].patients.sick else Status.HEALTHY
        began = now - timedelta(seconds=since)
        known = self.twins.state_of(service)
        stable = began if since and status is Status.HEALTHY else known.stable_since
        state = ServiceState(service, status, since=began, seen_at=now, stable_since=stable, flapping=flapping)
        self.twins.both(lambda side: side.at_work.record_sweep([], [], [state], [], now))

    # -- what goes wrong

    @precondition(lambda self: self.twins.frozen)
    @rule(which=WHICH, renews=st.booleans(), fate=fates(45))
    def wake(self, which: int, renews: bool, fate: Fate) -> None:
        """Let a process go on that was frozen, or only slow: then it kept its lease."""
        place = -1 - which % len(self.twins.frozen)
        if renews:
            self.twins.renew(place)
        self.twins.go_on(self.twins.frozen.pop(place), fate)

    @rule(strategy=st.sampled_from(STRATEGIES), how=st.sampled_from([None, False, True]))
    def break_remedy(self, strategy: str, how: bool | None) -> None:
        self.twins.air.broken.pop(strategy, None)
        if how is not None:
            self.twins.air.broken[strategy] = how

    @rule(seconds=st.sampled_from([0.1, 1, 5, 11, 31, 61, 301, 3600]))
    def pass_time(self, seconds: float) -> None:
        self.twins.air.now += timedelta(seconds=seconds)

    @rule(what=st.sampled_from(["clock", "locks", "store", "redis", "sight"]))
    def trouble(self, what: str) -> None:
        """Set the clock back, forget the cooldowns, or let something be away for a while."""
        air = self.twins.air
        if what == "clock":
            air.now -= timedelta(minutes=5)
        elif what == "locks":
            for side in self.twins.sides:
                side.redis._locks.clear()
        else:
            air.lacking, air.lacks_for = what, 4

    def fall_ill(self, service: str, cure: str | None) -> None:
        """Let a service need `cure` from now on, or be well if it is None."""
        for side in self.twins.sides:
            side.patients.sick.pop(service, None)
            if cure is not None:
                side.patients.sick[service] = cure

    @invariant()
    def the_laws_hold(self) -> None:
        self.sound = False
        if self.twins.touched:
            self.twins.agree()
        self.sound = True

    def teardown(self) -> None:
        """Let all faults end: then everything closes, whatever happened before."""
        try:
            if self.sound:
                self._end()
        finally:
            self.twins.bury()
            self.reached.update(self.twins.reached())
            self.logs.__exit__(None, None, None)
            super().teardown()

    def _end(self) -> None:
        self.twins.bury()
        self.twins.air.lacks_for = 0
        if self.twins.paused():
            self.resume()
        for service in SERVICES:
            self.sweep(service, well=False, flapping=False, since=0, fate=LIVES)
        for _ in range(PATIENCE):
            if not self.twins.open():
                self.twins.agree()
                return
            self.twins.air.now += ROUND
            self.twins.both(tick_and_work)
        raise AssertionError(f"still open: {self.twins.open()}")

    def _payload(self, failure_id: str, service: str, category: str, late: int) -> dict[str, object]:
        at = self.twins.air.now - timedelta(seconds=late)
        return {"id": failure_id, "service": service, "category": category, "occurred_at": at.isoformat()}


def _one(there: Sequence[T], which: int) -> T:
    return there[-1 - which % len(there)]
