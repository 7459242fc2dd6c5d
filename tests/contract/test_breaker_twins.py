"""The machine in Lua does what the pure one does, and counts and judges alike, under any sequence of events and clock steps."""

from dataclasses import dataclass, field, replace
from itertools import count
from math import floor

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from redis import Redis

from recovery.breaker.circuit import (
    NOTHING_ORDERED,
    PROBE,
    Circuit,
    Ordered,
    Result,
    admit,
    at,
    closed,
    half_opened,
    makes_room,
    mended,
    mode_of,
    opened,
    probed,
    repairing,
    shown,
    under,
)
from recovery.breaker.fleet import Ended, Order
from recovery.breaker.judgement import Counts, verdict
from recovery.breaker.options import BreakerOptions
from recovery.breaker.shared import SharedCircuits, key_of
from recovery.breaker.snapshot import Snapshot

_names = count()

BASE = BreakerOptions(reset_timeout=10.0, max_reset_timeout=50.0, permit_timeout=60.0, jitter=0.5, half_open_requests=2)
OPTIONS = {
    "a run of failures": replace(BASE, failure_threshold=3),
    "shares of calls": replace(
        BASE,
        failure_threshold=None,
        failure_rate=0.5,
        slow_call_duration=2.0,
        slow_call_rate=0.75,
        window_calls=8,
        minimum_requests=4,
    ),
    "shares of seconds": replace(BASE, failure_threshold=6, failure_rate=0.25, window_seconds=30.0, minimum_requests=5, backoff_factor=1.0),
    "a ramp": replace(BASE, failure_threshold=2, failure_rate=0.5, minimum_requests=6, ramp=(10, 50), ramp_stage=5.0, success_threshold=1),
    "only metrics": replace(BASE, failure_threshold=2, mode="metrics_only"),
}
DRAWS = st.sampled_from([0.0, 0.25, 0.5, 0.75])
STEPS = st.sampled_from([0.0, 0.5, 1.0, 3.0, 5.0, 10.0, 60.0])


@dataclass
class Told:
    """One call as the window remembers it."""

    at: float
    failed: bool
    slow: bool


@dataclass
class Oracle:
    """The pure machine with the plainest of windows: a list of every call."""

    options: BreakerOptions
    circuit: Circuit = field(default_factory=Circuit)
    calls: list[Told] = field(default_factory=list)
    in_a_row: int = 0

    def forget(self) -> None:
        self.calls, self.in_a_row = [], 0

    def become(self, circuit: Circuit) -> None:
        ended = circuit.state == "closed" and (self.circuit.state != "closed" or self.circuit.mode != circuit.mode == "auto")
        if ended or (circuit.stage == 1 and self.circuit.stage == 0):
            self.forget()
        self.circuit = circuit

    def counts(self, now: float) -> Counts:
        if self.options.window_seconds is not None:
            span = self.options.window_seconds / 10
            self.calls = [call for call in self.calls if floor(call.at / span) > floor(now / span) - 10]
        else:
            self.calls = self.calls[-(self.options.calls_in_window or 0) :]
        failures, slow = sum(call.failed for call in self.calls), sum(call.slow for call in self.calls)
        return Counts(len(self.calls), failures, slow, self.in_a_row)

    def tell(self, now: float, draw: float, ended: Ended) -> None:
        mode, times = mode_of(self.circuit, self.options), ended.calls
        if mode in {"disabled", "forced_open"} or (self.circuit.state != "closed" and not self.circuit.stage):
            return
        failed = ended.result == "failed"
        told, failures = ended.ok_before + ended.failed_before + times, ended.failed_before + (times if failed else 0)
        left = range(told, 0, -1)  # of what is told at once, the failed and the slow calls count as the last
        self.calls += [Told(now, failed=place <= failures, slow=place <= ended.slow) for place in left]
        self.in_a_row = (0 if ended.ok_before or not failed else self.in_a_row) + (times if failed else 0)
        why = verdict(self.counts(now), self.options)
        if why and mode == "auto":
            self.become(opened(self.circuit, self.options, now, draw, f"{why}, at last boom"))


class Twins(RuleBasedStateMachine):
    """Drives both by the same events; after each, both stand alike."""

    redis: Redis

    @initialize(kind=st.sampled_from(sorted(OPTIONS)))
    def begin(self, kind: str) -> None:
        self.options, self.name, self.now, self.draw = OPTIONS[kind], f"twin{next(_names)}", 1_000_000.0, 0.0
        self.oracle = Oracle(self.options)
        self.shared = SharedCircuits(self.redis, "twin", clock=lambda: self.now, chance=lambda: self.draw)
        self.permits = ["nobody's"]
        self.agree(self.shared.declare(self.name, self.options))

    @rule(step=STEPS)
    def wait(self, step: float) -> None:
        self.advance(step)
        view = self.shared.view(self.name)
        assert view is not None
        self.agree(view, trimmed=True)

    @rule(
        step=STEPS,
        draw=DRAWS,
        result=st.sampled_from(["ok", "failed", "failed"]),
        times=st.integers(1, 3),
        before=st.integers(0, 3),
        earlier=st.integers(0, 2),
    )
    def count_calls(self, step: float, draw: float, result: Result, times: int, before: int, earlier: int) -> None:
        self.advance(step, draw)
        ended = Ended(result, times, before, slow=times - 1, reason="boom", failed_before=earlier if before or result == "ok" else 0)
        before_state = self.oracle.circuit.state

        snapshot, opened_here = self.shared.tell(self.name, self.options, [ended])

        self.oracle.tell(self.now, draw, ended)
        assert opened_here == (self.oracle.circuit.state == "open" and before_state != "open")
        self.agree(snapshot)

    @rule(step=STEPS, draw=DRAWS)
    def ask(self, step: float, draw: float) -> None:
        self.advance(step, draw)
        permit = f"p{len(self.permits)}"

        snapshot, admission = self.shared.admit(self.name, self.options, permit)

        circuit, expected = admit(self.oracle.circuit, self.options, self.now, permit, draw)
        self.oracle.become(circuit)
        assert (admission.allowed, admission.permit) == (expected.allowed, expected.permit)
        assert admission.retry_after == pytest.approx(expected.retry_after, abs=0.002)
        if admission.permit:
            self.permits.append(permit)
        self.agree(snapshot)

    @rule(
        step=STEPS, draw=DRAWS, result=st.sampled_from(["ok", "ok", "failed", "void"]), which=st.integers(0, 4), by_recovery=st.booleans()
    )
    def end_a_probe(self, step: float, draw: float, result: Result, which: int, by_recovery: bool) -> None:
        self.advance(step, draw)
        permit = PROBE if by_recovery else self.permits[-1 - which % len(self.permits)]

        snapshot, _ = self.shared.probed(self.name, self.options, result, permit, "boom")

        self.oracle.become(probed(self.oracle.circuit, self.options, self.now, result, permit, draw, "boom"))
        self.agree(snapshot)

    @rule(step=STEPS)
    def half_open(self, step: float) -> None:
        self.advance(step)
        self.oracle.become(half_opened(self.oracle.circuit))
        self.agree(self.shared.half_open(self.name))

    @rule(step=STEPS, seconds=st.sampled_from([0.0, 5.0, 20.0]))
    def repair(self, step: float, seconds: float) -> None:
        self.advance(step)
        self.oracle.become(repairing(self.oracle.circuit, self.now + seconds if seconds else None))
        self.agree(self.shared.repair(self.name, seconds))

    @rule(step=STEPS)
    def mend(self, step: float) -> None:
        self.advance(step)
        was_open = self.oracle.circuit.state == "open"
        self.oracle.become(mended(self.oracle.circuit))
        snapshot, said_open = self.shared.mend(self.name)
        assert said_open == was_open
        self.agree(snapshot)

    @rule(
        step=STEPS,
        order=st.sampled_from(["reset", "auto", "metrics_only", "disabled", "forced_open"]),
        seconds=st.sampled_from([None, None, 0.5, 4.0, 30.0]),
        by=st.sampled_from(["ann", "bob"]),
        give_way=st.booleans(),
    )
    def operate(self, step: float, order: Order, seconds: float | None, by: str, give_way: bool) -> None:
        self.advance(step)
        circuit = self.oracle.circuit
        if not give_way or makes_room(circuit, "auto" if order == "reset" else order, by):
            if order == "reset":
                self.oracle.forget()
                self.oracle.become(closed(under(circuit, NOTHING_ORDERED)))
            else:
                until = None if seconds is None else self.now + seconds
                self.oracle.become(under(circuit, Ordered(order, until, by, "because")))
        self.agree(self.shared.operate(self.name, order, reason="because", by=by, seconds=seconds, give_way=give_way))

    @precondition(lambda self: self.oracle.circuit.mode != "auto")
    @rule()
    def forget_what_older_data_lacks(self) -> None:
        self.redis.hdel(key_of(self.name), "mode_until", "mode_by", "mode_reason")
        circuit = self.oracle.circuit
        self.oracle.circuit = replace(circuit, ordered=Ordered(circuit.mode))

    def advance(self, step: float, draw: float = 0.0) -> None:
        self.now, self.draw = self.now + step, draw
        self.oracle.become(at(self.oracle.circuit, self.options, self.now))

    def agree(self, theirs: Snapshot, *, trimmed: bool = False) -> None:
        ours, found, counts = self.oracle.circuit, theirs.circuit, self.oracle.counts(self.now)
        assert theirs.shown == shown(ours, self.options, self.now)
        for field_ in ("state", "mode", "successes", "stage", "streak", "trips", "reason"):
            assert getattr(found, field_) == getattr(ours, field_), field_
        for field_ in ("stage_until", "opened_at", "retry_at"):
            assert getattr(found, field_) == pytest.approx(getattr(ours, field_), abs=0.002), field_
        until = ours.repairing_until
        assert found.ordered == ours.ordered
        assert found.repairing_until == (until if until and until > self.now else None)
        assert theirs.view.in_a_row == counts.in_a_row
        if trimmed or self.options.window_seconds is None:  # a window of seconds moves when it is counted or looked at
            assert (theirs.calls, theirs.failures, theirs.slow) == (counts.calls, counts.failures, counts.slow)


def test_the_shared_machine_does_what_the_pure_one_does(redis_client: Redis) -> None:
    class OfThisTest(Twins):
        redis = redis_client

    run_state_machine_as_test(
        OfThisTest,
        settings=settings(max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)),
    )
