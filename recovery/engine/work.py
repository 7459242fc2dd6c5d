"""One attempt in progress: its steps, then the checks, then the verdict."""

from dataclasses import dataclass

from recovery.config.fleet import ServiceDeclaration
from recovery.engine.steps import Journal
from recovery.engine.verification import Verification, verify
from recovery.errors import Cancelled, LeaseLost
from recovery.models import Action, Attempt, JsonObject, Lease, Outcome, Recovery
from recovery.ports import AttemptContext, Clock, Probe, Store, Strategy


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class Work:
    """All that one attempt needs, in the hands of the lease's holder."""

    store: Store
    strategy: Strategy
    probe: Probe
    clock: Clock
    recovery: Recovery
    attempt: Attempt
    lease: Lease
    service: ServiceDeclaration

    def perform(self) -> Result:
        """Do the steps, then ask the checks.

        A remedy that only mitigates and does not even do that is taken away again at once. Raises `StepFailed`, `DriverError`,
        `Cancelled` or `LeaseLost`.
        """
        rows = self.store.steps(self.recovery.id, self.attempt.number)
        journal = Journal(self.store, self.lease, self.attempt.number, rows, self.clock)
        context = self._context(journal)
        steps = self.strategy.steps(context, self.attempt.action)
        journal.perform(steps, self._boundary)
        verification = self._verify()
        if verification is None:
            return Result(Outcome.UNKNOWN, f"{self.attempt.strategy} done; {self.service.name} has no checks that could verify it")
        facts: JsonObject = {"message": verification.message, "seconds": round(verification.seconds, 3)}
        journal.note(len(steps), "verify", facts, ok=verification.ok)
        mitigates = self.attempt.action is Action.APPLY and self.strategy.mitigates_for(self.service) is not None
        if verification.ok:
            return Result(Outcome.MITIGATED if mitigates else Outcome.RESOLVED, verification.message)
        if mitigates:
            journal.perform(self.strategy.steps(context, Action.REVERT), self._guard, offset=len(steps) + 1)
        return Result(Outcome.INEFFECTIVE, verification.message)

    def _context(self, journal: Journal) -> AttemptContext:
        return AttemptContext(
            service=self.service,
            recovery=self.recovery,
            attempt=self.attempt.number,
            fence=self.lease.fence,
            failure=self.store.latest_failure(self.recovery.id),
            results=journal.results,
            guard=self._guard,
            clock=self.clock,
        )

    def _guard(self) -> None:
        if not self.store.holds(self.lease):
            raise LeaseLost(f"the lease on {self.service.name} has moved on from fence {self.lease.fence}")

    def _boundary(self) -> None:
        self._guard()
        recovery = self.store.recovery(self.recovery.id)
        if recovery and recovery.cancel_requested:
            raise Cancelled

    def _verify(self) -> Verification | None:
        chosen = self.strategy.verify_with(self.service, self.attempt.action)
        checks = [f"{self.service.name}.{check.name}" for check in self.service.checks] if chosen is None else list(chosen)
        if not checks:
            return None if chosen is None else Verification(ok=True, message="in force; no check is declared to verify it", seconds=0.0)
        return verify(
            self.probe,
            checks,
            healthy_for=self.service.healthy_for,
            timeout=self.service.verify_timeout,
            boundary=self._boundary,
        )
