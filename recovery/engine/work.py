"""One attempt in progress: its steps, then the checks, then the verdict; and the way back, if it ends half-way."""

from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from recovery.config.fleet import ServiceDeclaration
from recovery.engine.limits import Deadline, Watch, undisturbed
from recovery.engine.retries import Pace, declared
from recovery.engine.rollback import INTERRUPTIONS, Result, begun, roll_back
from recovery.engine.steps import VERIFY, Journal
from recovery.engine.verification import Verification, verify
from recovery.errors import Cancelled, DriverError, LeaseLost, StepFailed, TimeUp
from recovery.models import Action, Attempt, AttemptState, JsonObject, Lease, Outcome, Recovery
from recovery.ports import AttemptContext, Clock, Probe, StepWork, Store, Strategy

log = structlog.get_logger("recovery")

WRITING = 0.1
"""Part of `attempt_grace` that is left, after the rollback, for writing down how the attempt ended."""
RECENT = timedelta(hours=1)
"""How far back attempts count into the error rate of an adaptive retry."""


@dataclass(frozen=True, slots=True)
class Work:
    """All that one attempt needs, in the hands of the lease's holder."""

    store: Store
    strategy: Strategy
    probe: Probe
    clock: Clock
    watch: Watch
    recovery: Recovery
    attempt: Attempt
    lease: Lease
    service: ServiceDeclaration

    def perform(self) -> Result:
        """Do the steps, then ask the checks; what must not stay is rolled back.

        Raises one of `INTERRUPTIONS`, or whatever the strategy raises before it has named its steps.
        """
        began = self.watch.now()
        soft = Deadline(self.watch, began + self.service.attempt_timeout, self._late(self.service.attempt_timeout))
        rows = self.store.steps(self.recovery.id, self.attempt.number)
        journal = Journal(self.store, self.lease, self.attempt.number, rows, self.clock)
        steps = self._steps(journal)
        ended, stays = begun(journal), False
        if ended is None:
            ended, stays = self._act(journal, steps, soft)
        if stays:
            return ended
        limit = self.service.attempt_timeout + self.service.attempt_grace * (1 - WRITING)
        hard = Deadline(self.watch, began + limit, "no time was left")
        return roll_back(journal, steps, ended, self._pace(hard, cancellable=False))

    def _act(self, journal: Journal, steps: list[StepWork], deadline: Deadline) -> tuple[Result, bool]:
        """Return how the attempt ended, and whether what it did stays: all that is complete, and of a mitigation what is verified."""
        try:
            journal.perform(steps, self._pace(deadline, cancellable=True))
        except INTERRUPTIONS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, what was done must be rolled back
            return self._failed(error), False
        try:
            verification = self._verify(deadline)
        except INTERRUPTIONS:
            raise
        except Exception as error:  # noqa: BLE001 - the same
            return self._failed(error), not self._mitigates()
        if verification is None:
            return Result(Outcome.UNKNOWN, f"{self.attempt.strategy} done; {self.service.name} has no checks that could verify it"), True
        facts: JsonObject = {"message": verification.message, "seconds": round(verification.seconds, 3)}
        journal.note(len(steps), VERIFY, facts, ok=verification.ok)
        if verification.ok:
            return Result(Outcome.MITIGATED if self._mitigates() else Outcome.RESOLVED, verification.message), True
        return Result(Outcome.INEFFECTIVE, verification.message), not self._mitigates()

    def _failed(self, error: Exception) -> Result:
        if isinstance(error, Cancelled | TimeUp | StepFailed | DriverError):
            return Result(Outcome.FAILED, error.message)
        log.error("attempt.broke", service=self.service.name, recovery=self.recovery.id, strategy=self.attempt.strategy, exc_info=error)
        return Result(Outcome.FAILED, f"{self.attempt.strategy} broke: {type(error).__name__}: {error}")

    def _mitigates(self) -> bool:
        return self.attempt.action is Action.APPLY and self.strategy.mitigates_for(self.service) is not None

    def _steps(self, journal: Journal) -> list[StepWork]:
        context = AttemptContext(
            service=self.service,
            recovery=self.recovery,
            attempt=self.attempt.number,
            fence=self.lease.fence,
            failure=self.store.latest_failure(self.recovery.id),
            results=journal.results,
            guard=self._guard,
            clock=self.clock,
        )
        retry = self.service.retry.get(self.attempt.strategy)
        steps = self.strategy.steps(context, self.attempt.action)
        return [replace(step, retry=declared(step.retry, retry)) for step in steps]

    def _pace(self, deadline: Deadline, *, cancellable: bool) -> Pace:
        def boundary() -> None:
            self._guard()
            if cancellable:
                self._require_wanted()
            deadline.require()

        return Pace(boundary, deadline, self.watch, self.clock, self._error_rate)

    def _guard(self) -> None:
        with undisturbed():  # strategies call this in the middle of their steps
            held = self.store.holds(self.lease)
        if not held:
            raise LeaseLost(f"the lease on {self.service.name} has moved on from fence {self.lease.fence}")

    def _require_wanted(self) -> None:
        recovery = self.store.recovery(self.recovery.id)
        if recovery and recovery.cancel_requested:
            raise Cancelled

    def _late(self, seconds: float) -> str:
        return f"{self.attempt.strategy} took longer than the {seconds:g} s of 'attempt_timeout'"

    def _error_rate(self) -> float:
        """Return the share of the finished attempts of the last hour on this service that failed or did not help."""
        recent = self.store.attempts_of(self.service.name, self.clock() - RECENT)
        ended = [attempt.outcome for attempt in recent if attempt.state is AttemptState.FINISHED]
        bad = sum(outcome in {Outcome.FAILED, Outcome.INEFFECTIVE} for outcome in ended)
        return bad / len(ended) if ended else 0.0

    def _verify(self, deadline: Deadline) -> Verification | None:
        chosen = self.strategy.verify_with(self.service, self.attempt.action)
        checks = [f"{self.service.name}.{check.name}" for check in self.service.checks] if chosen is None else list(chosen)
        if not checks:
            return None if chosen is None else Verification(ok=True, message="in force; no check is declared to verify it", seconds=0.0)
        return verify(
            self.probe,
            checks,
            healthy_for=self.service.healthy_for,
            timeout=self.service.verify_timeout,
            boundary=self._pace(deadline, cancellable=True).boundary,
            now=self.watch.now,
            pause=self.watch.pause,
        )
