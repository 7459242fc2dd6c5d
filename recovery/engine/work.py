"""One attempt in progress: its steps, then the checks, then the verdict."""

from dataclasses import dataclass

from recovery.config.fleet import ServiceDeclaration
from recovery.engine.steps import Journal, undisturbed
from recovery.engine.verification import Verification, verify
from recovery.errors import Cancelled, LeaseLost, StoreUnavailable
from recovery.models import Action, Attempt, JsonObject, Lease, Outcome, Recovery
from recovery.ports import AttemptContext, Clock, Probe, Store, Strategy

INTERRUPTIONS = (LeaseLost, StoreUnavailable, MemoryError)
"""Say nothing about the remedy: the attempt stays as it is, and whoever takes it up next goes on."""


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

        A remedy that only mitigates and is not verified, or cancelled meanwhile, is taken away again at once. Raises
        `StepFailed`, `DriverError`, `Cancelled` or one of `INTERRUPTIONS`.
        """
        rows = self.store.steps(self.recovery.id, self.attempt.number)
        journal = Journal(self.store, self.lease, self.attempt.number, rows, self.clock)
        context = self._context(journal)
        steps = self.strategy.steps(context, self.attempt.action)
        undo_at = len(steps) + 1
        if self._mitigates() and journal.reached(undo_at):
            self._take_away(journal, context, undo_at)
            return Result(Outcome.INEFFECTIVE, f"{self.attempt.strategy} did not help and was taken away again")
        journal.perform(steps, self._boundary)
        verification = self._verify_or_take_away(journal, context, undo_at)
        if verification is None:
            return Result(Outcome.UNKNOWN, f"{self.attempt.strategy} done; {self.service.name} has no checks that could verify it")
        facts: JsonObject = {"message": verification.message, "seconds": round(verification.seconds, 3)}
        journal.note(len(steps), "verify", facts, ok=verification.ok)
        if verification.ok:
            return Result(Outcome.MITIGATED if self._mitigates() else Outcome.RESOLVED, verification.message)
        self._take_away(journal, context, undo_at)
        return Result(Outcome.INEFFECTIVE, verification.message)

    def _mitigates(self) -> bool:
        return self.attempt.action is Action.APPLY and self.strategy.mitigates_for(self.service) is not None

    def _verify_or_take_away(self, journal: Journal, context: AttemptContext, undo_at: int) -> Verification | None:
        try:
            return self._verify()
        except INTERRUPTIONS:
            raise
        except Exception:
            self._take_away(journal, context, undo_at)
            raise

    def _take_away(self, journal: Journal, context: AttemptContext, at: int) -> None:
        """Undo a remedy that only mitigates; it would stay with nobody to end it."""
        if self._mitigates():
            journal.perform(self.strategy.steps(context, Action.REVERT), self._guard, offset=at)

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
        with undisturbed():  # strategies call this in the middle of their steps
            held = self.store.holds(self.lease)
        if not held:
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
