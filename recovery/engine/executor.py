"""Carries one attempt out: takes the lease, goes through the journaled steps, asks the checks, writes the outcome down."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.decide.guards import switches
from recovery.engine.limits import MONOTONIC, Watch
from recovery.engine.renewal import insist, kept_alive
from recovery.engine.rollback import INTERRUPTIONS, Result
from recovery.engine.work import Work
from recovery.errors import DriverError, LeaseLost, StepFailed, StoreUnavailable
from recovery.models import Attempt, AttemptState, Event, JsonObject, Lease, Outcome, Recovery, new_id
from recovery.ports import Clock, Probe, Store, Strategy
from recovery.registry import Registry

log = structlog.get_logger("recovery")


class Executor:
    """Runs attempts in this process.

    Args:
        store: the authority; refuses every write of a stale holder.
        strategies: every strategy there is.
        fleet: returns the configuration in force.
        probe: runs checks on the spot.
        clock: returns the current time.
        node: names this process in leases, such as `recover@host:4711`.
        watch: measures how long an attempt takes, and waits.
        objects: says whether a guard objects by now to an attempt whose message came late.
        insist: gives a claim up as soon as the store is back, without holding anybody up.
    """

    def __init__(
        self,
        store: Store,
        strategies: Registry[Strategy],
        fleet: Callable[[], Fleet],
        probe: Probe,
        clock: Clock,
        node: str,
        *,
        watch: Watch = MONOTONIC,
        objects: Callable[[Recovery], bool] = lambda _recovery: False,
        insist: Callable[[Callable[[], None]], None] = insist,
    ) -> None:
        self._store = store
        self._strategies = strategies
        self._fleet = fleet
        self._probe = probe
        self._clock = clock
        self._node = node
        self._watch = watch
        self._objects = objects
        self._insist = insist

    def run(self, recovery_id: str, number: int) -> Attempt | None:
        """Carry out attempt `number`; return it as it ended, or None when there was nothing to do.

        Nothing to do: the message is stale, somebody else holds the service, the lease was lost on the way (then whoever has it
        now finishes the attempt), the attempt has lost as many workers as it may (the tick gives it up), the kill switch was turned
        before it began, or its message came late and a guard objects by now (the tick sends it again, or takes it back).

        Raises `StoreUnavailable` if the store goes away; the attempt is handed back once the store is there again, else its lease
        runs out, and the tick lets it be taken up again.
        """
        recovery = self._store.recovery(recovery_id)
        fleet, now = self._fleet(), self._clock()
        service = fleet.services.get(recovery.service) if recovery else None
        if recovery is None or service is None or not self._wanted(recovery, number, service, fleet.platform.max_runs, now):
            return None
        seconds = fleet.platform.lease
        holder = f"{self._node}:{new_id()[:8]}"
        lease = self._store.acquire_lease(recovery.service, recovery_id, holder, now, now + timedelta(seconds=seconds))
        if lease is None:
            return None
        unfinished: int | None = None
        try:
            with kept_alive(self._store, lease, seconds, self._clock, lambda: log.warning("lease.lost", service=lease.service)):
                return self._carry_out(recovery, number, lease, service)
        except LeaseLost:
            log.warning("attempt.abandoned", service=recovery.service, recovery=recovery.id, reason="the lease was lost")
            return None
        except (StoreUnavailable, SystemExit):
            unfinished = number  # this worker is not lost, so the attempt must not be parked on its account
            raise
        finally:
            self._release(lease, unfinished)

    def _wanted(self, recovery: Recovery, number: int, service: ServiceDeclaration, max_runs: int, now: datetime) -> bool:
        if not recovery.state.is_open or recovery.attempt != number:
            return False
        attempt = self._store.attempts(recovery.id)[number - 1]
        if attempt.state is not AttemptState.QUEUED:  # what has begun is not left half-done, unless it is the tick's to give up
            return attempt.state is not AttemptState.FINISHED and attempt.runs < max_runs
        paused = switches(recovery, service, self._store.silences(now), now)
        if paused:
            log.info("attempt.waits", service=service.name, recovery=recovery.id, reason=f"paused by {paused[0].author}")
            return False
        overdue = recovery.due_at is not None and recovery.due_at <= now
        if overdue and self._objects(recovery):
            log.info(
                "attempt.waits", service=service.name, recovery=recovery.id, reason="its message came late, and a guard objects by now"
            )
            return False
        return True

    def _release(self, lease: Lease, unfinished: int | None) -> None:
        try:
            self._give_up(lease, unfinished)
        except StoreUnavailable:
            log.warning("lease.not_released", service=lease.service, ends=lease.until.isoformat())
            self._insist(lambda: self._give_up(lease, unfinished))

    def _give_up(self, lease: Lease, unfinished: int | None) -> None:
        """Give the claim up; an attempt that is not finished is handed back with it. What was lost meanwhile is somebody else's."""
        if unfinished is None:
            self._store.release_lease(lease)
            return
        with suppress(LeaseLost):
            self._store.hand_back(lease, unfinished, self._clock())

    def _carry_out(self, recovery: Recovery, number: int, lease: Lease, service: ServiceDeclaration) -> Attempt:
        attempt = self._store.begin_attempt(lease, number, self._clock())
        strategy = self._strategies[attempt.strategy]
        work = Work(self._store, strategy, self._probe, self._clock, self._watch, recovery, attempt, lease, service)
        said = {"service": service.name, "recovery": recovery.id, "strategy": attempt.strategy, "attempt": number}
        log.info("attempt.started", **said, action=str(attempt.action), run=attempt.runs)
        result = self._result_of(work)
        now = self._clock()
        if result.outcome is Outcome.RESOLVED and self._store.holds(lease):
            self._store.mark_started(service.name, now)
        ended = replace(attempt, state=AttemptState.FINISHED, outcome=result.outcome, reason=result.reason, finished_at=now)
        data: JsonObject = {"strategy": attempt.strategy, "attempt": number, "outcome": str(result.outcome), "reason": result.reason}
        self._store.finish_attempt(lease, ended, [Event("recovery:action", now, service.name, recovery.id, data)], now)
        log.info("attempt.finished", **said, outcome=str(result.outcome), reason=result.reason)
        return ended

    def _result_of(self, work: Work) -> Result:
        try:
            return work.perform()
        except INTERRUPTIONS:
            raise
        except (StepFailed, DriverError) as failed:
            return Result(Outcome.FAILED, failed.message)
        except Exception as error:
            log.exception("attempt.broke", service=work.service.name, recovery=work.recovery.id, strategy=work.attempt.strategy)
            return Result(Outcome.FAILED, f"{work.attempt.strategy} broke: {type(error).__name__}: {error}")
