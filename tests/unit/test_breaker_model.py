"""One process's breaker, held against a slow one in plain words: any interleaving of calls, results, times, ramps and orders."""

from collections.abc import Coroutine, Generator
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from recovery.breaker import Breaker, BreakerOptions
from recovery.breaker.changes import Change
from recovery.breaker.circuit import Ordered, under
from recovery.breaker.fleet import FleetView
from recovery.errors import CircuitOpen
from tests.breakers import Chance, Clock, Entry, PlainBreaker, Refused

COMMON: dict[str, Any] = {
    "success_threshold": 2,
    "half_open_requests": 2,
    "permit_timeout": 5.0,
    "reset_timeout": 8.0,
    "max_reset_timeout": 20.0,
    "jitter": 0.5,
    "ignore": (KeyError,),
    "record": (ValueError,),
    "record_result": lambda value: value == "bad",
}
CHOICES = [
    BreakerOptions(**COMMON, failure_threshold=3),
    BreakerOptions(**COMMON, failure_threshold=None, failure_rate=0.5, window_calls=6, minimum_requests=4),
    BreakerOptions(**COMMON, failure_threshold=None, failure_rate=0.5, window_seconds=5, minimum_requests=3),
    BreakerOptions(**COMMON, failure_threshold=4, slow_call_duration=2, slow_call_rate=0.5, window_calls=5, minimum_requests=2),
    BreakerOptions(**COMMON, failure_threshold=3, slow_call_duration=1, failure_rate=0.75, window_seconds=10, minimum_requests=4),
    BreakerOptions(**COMMON, failure_threshold=3, failure_rate=0.5, window_calls=8, minimum_requests=6, ramp=(10, 50), ramp_stage=3),
    BreakerOptions(**COMMON, failure_threshold=None, failure_rate=0.5, window_seconds=5, minimum_requests=2, ramp=(50,), ramp_stage=4),
]
ERRORS = {"failed": ValueError, "ignored": KeyError, "other": LookupError, "cancelled": KeyboardInterrupt}
MEANS = {"ok": "ok", "bad": "failed", "failed": "failed", "ignored": "void", "other": "ok", "cancelled": "void"}
OUTCOMES = st.sampled_from(["ok", "ok", "ok", "bad", "failed", "failed", "failed", "ignored", "other", "cancelled"])
STEPS = st.integers(0, 12).map(lambda quarters: quarters / 4)


class Pause:
    """Stops a coroutine until somebody sends it on."""

    def __await__(self) -> Generator[None, str, str]:
        return (yield)


async def work() -> str:
    return await Pause()


def finish(call: Coroutine[Any, str, str], outcome: str) -> None:
    try:
        if outcome in ERRORS:
            call.throw(ERRORS[outcome](outcome))
        else:
            call.send(outcome)
    except StopIteration as returned:
        assert returned.value == outcome  # noqa: PT017
    except (ValueError, LookupError, KeyboardInterrupt) as raised:
        assert type(raised) is ERRORS[outcome]  # noqa: PT017


class Twins(RuleBasedStateMachine):
    """Drives both by the same events. Calls under way are coroutines that wait, so that any order of ends can be played."""

    @initialize(options=st.sampled_from(CHOICES))
    def begin(self, options: BreakerOptions) -> None:
        self.clock, self.chance = Clock(), Chance()
        self.changes: list[Change] = []
        self.breaker = Breaker("gateway", options, clock=self.clock, draw=self.chance)
        self.breaker.on_change(self.changes.append)
        self.plain = PlainBreaker(options)
        self.version = 0
        self.guarded = self.breaker(work)
        self.under_way: list[tuple[Coroutine[Any, str, str], Entry]] = []

    def teardown(self) -> None:
        for call, _ in getattr(self, "under_way", []):
            call.close()

    @rule(decorated=st.booleans())
    def begin_a_call(self, decorated: bool) -> None:
        call: Any = self.guarded() if decorated else self.breaker.acall(work)
        answer = self.plain.enter(self.clock.now, self.chance.draw)
        try:
            call.send(None)
        except CircuitOpen as refused:
            assert isinstance(answer, Refused)
            assert refused.retry_after == answer.retry_after  # noqa: PT017
        else:
            assert isinstance(answer, Entry)
            self.under_way.append((call, answer))

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 100), outcome=OUTCOMES)
    def end_a_call(self, which: int, outcome: str) -> None:
        call, entry = self.under_way.pop(which % len(self.under_way))
        finish(call, outcome)
        self.plain.end(entry, self.clock.now, MEANS[outcome], self.chance.draw)

    @rule(outcome=OUTCOMES, takes=STEPS, way=st.sampled_from(["call", "decorator", "with"]))
    def make_a_call(self, outcome: str, takes: float, way: str) -> None:
        answer = self.plain.enter(self.clock.now, self.chance.draw)
        outcome = "ok" if (way, outcome) == ("with", "bad") else outcome  # a block has no result
        made = []

        def function() -> str:
            made.append(1)
            self.clock.now += takes
            if outcome in ERRORS:
                raise ERRORS[outcome](outcome)
            return outcome

        try:
            if way == "with":
                with self.breaker:
                    function()
            else:
                assert (self.breaker.call(function) if way == "call" else self.breaker(function)()) == outcome
        except CircuitOpen as refused:
            assert isinstance(answer, Refused)
            assert refused.retry_after == answer.retry_after  # noqa: PT017
        except (ValueError, LookupError, KeyboardInterrupt) as raised:
            assert type(raised) is ERRORS[outcome]  # noqa: PT017
        assert bool(made) == isinstance(answer, Entry)
        if isinstance(answer, Entry):
            self.plain.end(answer, self.clock.now, MEANS[outcome], self.chance.draw)

    @rule(seconds=STEPS)
    def let_time_pass(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(draw=st.sampled_from([0.0, 0.25, 0.5, 0.75]))
    def change_luck(self, draw: float) -> None:
        self.chance.draw = draw

    @rule(order=st.sampled_from(["reset", "auto", "auto", "metrics_only", "disabled", "forced_open"]))
    def give_an_order(self, order: Any) -> None:
        self.breaker.order(order)
        self.plain.order(order, self.clock.now)

    @rule(mode=st.sampled_from(["metrics_only", "disabled", "forced_open"]), seconds=STEPS.filter(bool))
    def hear_of_an_order_that_ends_by_itself(self, mode: Any, seconds: float) -> None:
        now, self.version = self.clock.now, self.version + 1
        ordered = under(self.breaker.circuit, Ordered(mode, now + seconds, "ann"))
        self.breaker.apply(FleetView(ordered, now, self.version))
        self.plain.order(mode, now, now + seconds)

    @invariant()
    def they_agree(self) -> None:
        if not hasattr(self, "plain"):
            return
        assert self.breaker.state == self.plain.shown(self.clock.now)
        stats, plain = self.breaker.stats(), self.plain
        assert (stats.calls, stats.failures, stats.slow) == (plain.calls, plain.failures, plain.slow)
        assert (stats.rejected, stats.trips) == (plain.rejected, plain.trips)

    @invariant()
    def every_change_begins_where_the_last_one_ended(self) -> None:
        told = getattr(self, "changes", [])
        assert all(before.after == after.before for before, after in pairwise(told))
        if told:
            assert sum(change.before == change.after for change in told) == self.plain.warnings


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=150, stateful_step_count=50, deadline=None)
