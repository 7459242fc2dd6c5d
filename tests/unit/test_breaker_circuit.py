"""The pure state machine, held against what must be true of any breaker under any sequence of events and clock steps."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from recovery.breaker.circuit import PROBE, Circuit, Result, admit, half_opened, record
from recovery.breaker.options import BreakerOptions

OPTIONS = BreakerOptions(failure_threshold=3, success_threshold=2, reset_timeout=10.0, half_open_requests=2, permit_timeout=5.0)
RESULTS = st.sampled_from(["ok", "failed", "void"])


@dataclass
class Oracle:
    """A breaker told in the plainest words: a phase, a run of failures, a count of proofs, when it opened, who may probe."""

    phase: str = "closed"
    run: int = 0
    proofs: int = 0
    opened: float = 0.0
    probes: dict[str, float] = field(default_factory=dict)

    def open(self, now: float) -> None:
        self.phase, self.opened, self.probes = "open", now, {}

    def ask(self, now: float, permit: str) -> bool:
        if self.phase == "open" and now >= self.opened + 10:
            self.phase, self.proofs = "half_open", 0
        if self.phase != "half_open":
            return self.phase == "closed"
        self.probes = {holder: until for holder, until in self.probes.items() if until > now}
        if len(self.probes) == 2:
            return False
        self.probes[permit] = now + 5
        return True

    def end(self, now: float, result: str, permit: str) -> None:
        if self.phase == "closed":
            self.run = {"ok": 0, "failed": self.run + 1, "void": self.run}[result]
            if self.run == 3:
                self.open(now)
        elif self.phase == "half_open" and (permit == PROBE or self.probes.pop(permit, None) is not None):
            self.proofs += result == "ok"
            if result == "failed":
                self.open(now)
            elif self.proofs == 2:
                self.phase, self.run, self.probes = "closed", 0, {}


class Twins(RuleBasedStateMachine):
    """Drives the machine and the oracle by the same events."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit = Circuit()
        self.oracle = Oracle()
        self.now = 100.0
        self.permits: list[str] = [""]

    @rule()
    def ask(self) -> None:
        permit = f"p{len(self.permits)}"
        self.circuit, admission = admit(self.circuit, OPTIONS, self.now, permit)
        assert admission.allowed == self.oracle.ask(self.now, permit)
        assert admission.allowed or admission.retry_after > 0
        if admission.permit:
            self.permits.append(permit)

    @rule(result=RESULTS, which=st.integers(0, 30))
    def end_a_call(self, result: Result, which: int) -> None:
        permit = self.permits[which % len(self.permits)]
        self.circuit = record(self.circuit, OPTIONS, self.now, result, permit=permit)
        self.oracle.end(self.now, result, permit)

    @rule(result=RESULTS)
    def probe(self, result: Result) -> None:
        self.circuit = record(self.circuit, OPTIONS, self.now, result, permit=PROBE)
        self.oracle.end(self.now, result, PROBE)

    @rule(seconds=st.floats(0, 12))
    def let_time_pass(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.circuit.state == "open")
    @rule()
    def half_open(self) -> None:
        self.circuit = half_opened(self.circuit)
        self.oracle.phase, self.oracle.proofs = "half_open", 0

    @invariant()
    def they_agree(self) -> None:
        assert self.circuit.state == self.oracle.phase
        assert dict(self.circuit.permits) == self.oracle.probes
        if self.circuit.state == "closed":
            assert self.circuit.failures == self.oracle.run
            assert (self.circuit.opened_at, self.circuit.retry_at) == (None, None)
        if self.circuit.state == "half_open":
            assert self.circuit.successes == self.oracle.proofs
        if self.circuit.state == "open":
            assert self.circuit.retry_at == self.oracle.opened + 10


TestTwins = Twins.TestCase


@given(count=st.integers(1, 20))
def test_failures_counted_at_once_open_it_like_the_same_number_one_by_one(count: int) -> None:
    at_once = record(Circuit(), OPTIONS, 0.0, "failed", count=count)
    one_by_one = Circuit()
    for _ in range(count):
        one_by_one = record(one_by_one, OPTIONS, 0.0, "failed")

    assert at_once.state == one_by_one.state


def test_the_reason_is_kept_short() -> None:
    circuit = record(Circuit(), OPTIONS, 0.0, "failed", count=3, reason="x" * 10_000)

    assert len(circuit.reason) == 500
