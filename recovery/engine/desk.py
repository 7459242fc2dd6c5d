"""Takes in what starts or ends a recovery: failure reports, manual triggers, restores and cancels.

Nothing is executed here. A report chooses a plan from what the operator declared; it can never bring a command of its own.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.decide.facts import UNASKED
from recovery.decide.planner import Estimate, no_history, plan_restore
from recovery.engine.chronicle import tell
from recovery.engine.drafts import Drafts, opened
from recovery.engine.moves import cancel, rehearse
from recovery.engine.reports import parse_failure, refusal_of
from recovery.errors import FailureInvalid, RecoveryError, RecoveryNotFound, ServiceNotFound
from recovery.models import (
    Category,
    Event,
    Failure,
    Kind,
    Mitigation,
    Plan,
    Recovery,
    ServiceState,
    Status,
)
from recovery.ports import Accepted, Clock, Intake, Refusal, Report, Store, Strategy
from recovery.registry import Registry

Plans = dict[tuple[str, Category], Plan]
"""What was planned for a service and a category within one batch."""


class Desk:
    """The one place where recoveries begin.

    Args:
        store: where they are written down.
        strategies: every strategy there is.
        fleet: returns the configuration in force.
        clock: returns the current time.
        later: strategies that are known words but not part of this version.
        estimate: typical seconds of a strategy on a service, from its history.
    """

    def __init__(
        self,
        store: Store,
        strategies: Registry[Strategy],
        fleet: Callable[[], Fleet],
        clock: Clock,
        *,
        later: Collection[str] = (),
        estimate: Estimate = no_history,
    ) -> None:
        self._store = store
        self._strategies = strategies
        self._fleet = fleet
        self._clock = clock
        self._drafts = Drafts(strategies, fleet, clock, later=later, estimate=estimate)

    def report(self, payload: Mapping[str, object], actor: str = "report") -> Accepted:
        """Take one failure report in: open a recovery, or merge it into the one that is open.

        Raises `FailureInvalid` or `ServiceNotFound`; both leave a row in the audit trail and nothing else.
        """
        (answer,) = self.report_many([payload], actor)
        if isinstance(answer, RecoveryError):
            raise answer
        return answer

    def understands(self, payload: Mapping[str, object]) -> bool:
        """Say whether a report would be taken in; nothing is noted."""
        try:
            self._read(payload)
        except (FailureInvalid, ServiceNotFound):
            return False
        return True

    def report_many(self, payloads: Sequence[Mapping[str, object]], actor: str = "report") -> list[Accepted | RecoveryError]:
        """Take a batch of reports in, in one transaction; return what became of each, in their order.

        The same rules as `report`; what is refused comes back as the error and does not hold up the others. Whatever else
        is raised (`StoreUnavailable` above all): nothing was taken in. Refusals are noted last; if that fails, the batch may be
        handed in again, because what was taken in is known by then.
        """
        plans: Plans = {}
        now = self._clock()
        answers: list[Accepted | RecoveryError | None] = []
        reports: list[Report] = []
        refusals: list[Refusal] = []
        for payload in payloads:
            try:
                failure, service = self._read(payload)
            except (FailureInvalid, ServiceNotFound) as refused:
                refusals.append(refusal_of(refused, payload, actor, now))
                answers.append(refused)
                continue
            reports.append(Report(failure, now, partial(self._opening, failure, service, plans)))
            answers.append(None)
        accepted = self._store.take_in(reports) if reports else []
        tell(opened(one.recovery) for one in accepted if one.intake is Intake.OPENED)
        self._store.refuse(refusals)
        rest = iter(accepted)
        return [answer if answer is not None else next(rest) for answer in answers]

    def trigger(
        self,
        service: str,
        strategy: str | None = None,
        *,
        recovery_id: str | None = None,
        force: bool = False,
        dry_run: bool = False,
        reason: str = "",
        kind: Kind = Kind.MANUAL,
    ) -> Accepted:
        """Open a manual recovery of `service`, with one strategy or with the plan for an unavailable service.

        Args:
            service: a declared service.
            strategy: the only one to try; None: the whole plan.
            recovery_id: id to use, so that a doubled message opens nothing new.
            force: pass over cooldown and attempt cap.
            dry_run: record what would be done and touch nothing.
            reason: why, for the history.
            kind: `EMERGENCY` where nobody but the caller carries it out.

        A recovery that nobody asked for and that a guard holds is cancelled: a person does not wait behind it, and who forces it
        does not wait behind one by hand that is not forced. One that is at work takes the request in. A dry run touches neither: it
        is closed at once, and says what it would run.

        Raises `ServiceNotFound`, `UnknownName` or `StrategyUnavailable`.
        """
        declared = self._drafts.service(service)
        if recovery_id and (known := self._store.recovery(recovery_id)):
            return Accepted(intake=Intake.DUPLICATE, recovery=known)
        category = Category.SERVICE_UNAVAILABLE
        chosen = self._drafts.plan(declared, category) if strategy is None else self._drafts.plan_of_one(declared, strategy, category)
        draft = self._drafts.draft(kind, declared.name, category, chosen, reason or "by hand")
        draft = replace(draft, id=recovery_id or draft.id, force=force, dry_run=dry_run)
        if kind is Kind.MANUAL and not dry_run:
            self._make_way(draft)
        accepted = self._open(draft)
        return self._rehearse(draft, accepted.recovery) if dry_run and accepted.intake is Intake.MERGED else accepted

    def _rehearse(self, draft: Recovery, standing: Recovery) -> Accepted:
        """Answer a dry run at once although another recovery is open, which it neither waits for nor changes."""
        move = rehearse(draft, standing)
        accepted = self._store.open_recovery(move.after, None, move.decisions, (opened(draft), *move.events))
        tell((opened(draft), *move.events), move.decisions)
        return accepted

    def _make_way(self, draft: Recovery) -> None:
        """End the recovery in the way of a request by hand, if it only waits; one that has begun meanwhile stays."""
        standing = self._store.open_recovery_of(draft.service)
        if standing is None or not standing.held_by:
            return
        gives_way = standing.kind in UNASKED or (draft.force and standing.kind is Kind.MANUAL and not standing.force)
        if not gives_way:
            return
        reason = f"a request by hand took its place while it waited ({standing.held_by})"
        move = cancel(standing, None, reason, draft.created_at, timedelta())
        if self._store.transition(standing, move.after, events=move.events, now=draft.created_at) is not None:
            tell(move.events)

    def restore(self, mitigation: Mitigation) -> Accepted | None:
        """Open a scheduled recovery that takes a mitigation away; None while another one is open, the last one is quiet, or it is gone.

        A restore that failed, was held back or cancelled is quiet for the platform's `retry_failed_after`.
        """
        declared = self._drafts.service(mitigation.service)
        message = f"healthy again: end {mitigation.strategy}"
        draft = self._drafts.draft(Kind.SCHEDULED, declared.name, Category.UNKNOWN, plan_restore(mitigation, self._strategies), message)
        busy = self._store.busy(draft.created_at)
        gone = mitigation not in self._store.mitigations()  # asked last: a restore that is no longer open has taken it away by now
        return None if gone or draft.service in busy or draft.fingerprint in busy else self._open(draft)

    def restore_all(self) -> list[Accepted]:
        """Open a restore for every mitigation whose service has been healthy for its `healthy_for` seconds."""
        mitigations = [put for put in self._store.mitigations() if put.strategy in self._strategies]
        if not mitigations:
            return []
        states, now = self._store.service_states(), self._clock()
        ready = [put for put in mitigations if self._is_over(put, states.get(put.service), now)]
        return [accepted for mitigation in ready if (accepted := self.restore(mitigation))]

    def _is_over(self, put: Mitigation, state: ServiceState | None, now: datetime) -> bool:
        """Say whether the service does without its mitigation by now.

        Checks that were green all along never saw what the mitigation is for: their health says nothing before its time is over.
        """
        declared = self._fleet().services.get(put.service)
        if not declared or not state or state.status is not Status.HEALTHY or not state.since:
            return False
        if (now - state.since).total_seconds() < declared.healthy_for:
            return False
        cause = self._store.recovery(put.recovery_id)
        return put.until <= now or cause is None or state.since >= cause.first_evidence_at

    def cancel(self, recovery_id: str, reason: str = "") -> Recovery:
        """Ask for an open recovery to end at the next step boundary.

        Raises `RecoveryNotFound` for an unknown id. A recovery that is closed already is returned as it is.
        """
        known = self._store.recovery(recovery_id)
        if known is None:
            raise RecoveryNotFound(f"no recovery has the id {recovery_id}", recovery_id=recovery_id)
        return self._store.request_cancel(known.id, reason or "cancelled by an operator", self._clock()) or known

    def _read(self, payload: Mapping[str, object]) -> tuple[Failure, ServiceDeclaration]:
        failure = parse_failure(payload)
        return failure, self._drafts.service(failure.service)

    def _answer_to(self, failure: Failure, chosen: Plan) -> Recovery:
        """Return the recovery that a failure opens."""
        draft = self._drafts.draft(Kind.AUTOMATIC, failure.service, failure.category, chosen, failure.message)
        return replace(
            draft,
            fingerprint=failure.fingerprint,
            severity=failure.severity,
            first_evidence_at=min(failure.occurred_at, draft.created_at),
            failure_id=failure.id,
            last_failure_at=failure.occurred_at,
            failures=1,
        )

    def _opening(self, failure: Failure, service: ServiceDeclaration, plans: Plans) -> tuple[Recovery, Sequence[Event]]:
        key = (service.name, failure.category)
        if key not in plans:
            plans[key] = self._drafts.plan(service, failure.category)
        draft = self._answer_to(failure, plans[key])
        return draft, (opened(draft),)

    def _open(self, draft: Recovery) -> Accepted:
        happened = (opened(draft),)
        accepted = self._store.open_recovery(draft, None, (), happened)
        if accepted.intake is Intake.OPENED:
            tell(happened)
        return accepted
