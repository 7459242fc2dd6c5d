"""Queue `failures`: reports, requests by hand, and the coordination of recoveries."""

from uuid import UUID, uuid5

from celery import Task
from celery.utils.log import get_task_logger

from recovery.errors import StoreUnavailable
from recovery.models import JsonObject, utcnow
from recovery.ports import Done, Intake
from workers import reports
from workers.celery import app
from workers.dispatch import obey
from workers.intake import ID_LENGTH, answer, proceed, take_in
from workers.wiring import platform

logger = get_task_logger(__name__)

UNNAMED = "somebody"
"""Who asks by a message that does not say."""
REQUESTS = UUID("6f1d3a0e-6a53-4f6b-9a55-6d2a0f0c8d11")
"""Namespace in which the id of a request by hand gives the id of its recovery."""


@app.task(name="recovery.report_failure", shared=False, ignore_result=False, bind=True, Strategy="workers.shortcut:strategy")  # type: ignore[untyped-decorator]
def report_failure(self: Task, /, **failure: object) -> JsonObject:  # noqa: D417 - Celery hands in the task itself
    """Take in one failure report.

    Args:
        failure: the fields of `recovery.models.Failure`; only `service` is required. Default of `id`: the task's own, so that
            a message that comes twice is one report.

    Returns:
        `recovery_id` and `intake`: `opened`, `merged` into an open recovery, a `duplicate` of a known report, or `kept`
        in the stream of reports until the database is back.

    Raises:
        FailureInvalid: a field is missing, unknown or wrong.
        ServiceNotFound: no such service is declared.
    """
    if self.request.id:
        failure.setdefault("id", self.request.id[:ID_LENGTH])
    try:
        return answer(take_in(failure, "report"))
    except StoreUnavailable as error:
        reports.keep(platform().redis, failure)
        logger.warning("kept a report in the stream until the database is back: %s", error.message)
        return {"recovery_id": None, "intake": "kept"}


@app.task(name="recovery.trigger", shared=False, ignore_result=False, bind=True)  # type: ignore[untyped-decorator]
def trigger(  # noqa: D417 - Celery hands in the task itself
    self: Task,
    service: str,
    strategy: str | None = None,
    force: bool = False,  # noqa: FBT001, FBT002 - a field of the message
    dry_run: bool = False,  # noqa: FBT001, FBT002 - the same
    reason: str = "",
    by: str = UNNAMED,
) -> JsonObject:
    """Start a recovery by hand; the answer is that of `recovery.report_failure`.

    Args:
        service: name of a declared service.
        strategy: run just this one; None: the service's plan.
        force: ignore cooldowns and attempt caps.
        dry_run: decide and record, touch nothing.
        reason: goes into the history.
        by: who asks; goes into the audit trail.

    Raises:
        RecoveryError: an unknown service or strategy.
    """
    recovery_id = str(uuid5(REQUESTS, self.request.id))  # the same message twice opens one recovery
    accepted = platform().desk.trigger(service, strategy, recovery_id=recovery_id, force=force, dry_run=dry_run, reason=reason)
    proceed(accepted)
    if accepted.intake is not Intake.DUPLICATE:
        wish: JsonObject = {"service": service, "strategy": strategy, "force": force, "dry_run": dry_run, "reason": reason}
        platform().store.audit("trigger_requested", by, {"recovery_id": accepted.recovery.id, **wish}, utcnow())
    return answer(accepted)


@app.task(name="recovery.cancel", shared=False, ignore_result=False)  # type: ignore[untyped-decorator]
def cancel(recovery_id: str, reason: str = "", by: str = UNNAMED) -> JsonObject:
    """Cancel a recovery at its next step boundary.

    Args:
        recovery_id: a full id.
        reason: goes into the history.
        by: who asks; goes into the audit trail.

    Raises:
        RecoveryNotFound: no recovery has this id.
    """
    recovery = platform().desk.cancel(recovery_id, reason)
    if recovery.state.is_open:
        detail: JsonObject = {"recovery_id": recovery.id, "service": recovery.service, "reason": reason}
        platform().store.audit("cancel_requested", by, detail, utcnow())
    directive = platform().coordinator.advance(recovery.id)
    obey(directive)
    return {"recovery_id": recovery.id, "service": recovery.service, "state": "closed" if isinstance(directive, Done) else "cancelling"}


@app.task(name="recovery.advance", shared=False)  # type: ignore[untyped-decorator]
def advance(recovery_id: str) -> None:
    """Make the next transition of a recovery; without the database, leave that to the tick."""
    try:
        obey(platform().coordinator.advance(recovery_id))
    except StoreUnavailable as error:
        logger.warning("recovery %s waits for the next tick: %s", recovery_id, error.message)
