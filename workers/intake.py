"""The one way in for failure reports, for the task and for the stream: take in, advance, send what comes next."""

from collections.abc import Mapping

from recovery.models import utcnow
from recovery.ports import Accepted, Intake
from workers.dispatch import obey
from workers.wiring import platform

SHOWN = 500
"""Characters of an unreadable report that the audit trail keeps."""


def take_in(payload: Mapping[str, object], actor: str) -> Accepted:
    """Commit one report and start what follows from it.

    Args:
        payload: the fields of a `Failure`.
        actor: who handed it in, for the audit trail.

    Raises:
        FailureInvalid: a field is missing, unknown or wrong; the refusal is in the audit trail.
        ServiceNotFound: no such service is declared; the same.
        StoreUnavailable: nothing was decided; the report must be kept and handed in again.
    """
    accepted = platform().desk.report(payload, actor)
    proceed(accepted)
    return accepted


def proceed(accepted: Accepted) -> None:
    """Advance a recovery that was just opened; one that was merged into is under way already."""
    if accepted.intake is Intake.OPENED:
        obey(platform().coordinator.advance(accepted.recovery.id))


def refuse(reason: str, raw: str) -> None:
    """Note in the audit trail that something unreadable was handed in as a report."""
    platform().store.audit("report_refused", "stream", {"code": "FAILURE_INVALID", "reason": reason, "report": raw[:SHOWN]}, utcnow())
