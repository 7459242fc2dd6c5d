"""The one way in for failure reports, for the task and for the stream: take in, advance, send what comes next."""

from collections.abc import Mapping, Sequence

from celery.utils.log import get_logger

from recovery.errors import RecoveryError, StoreUnavailable
from recovery.models import JsonObject, utcnow
from recovery.ports import Accepted, Intake, Refusal
from workers.dispatch import obey
from workers.wiring import platform

logger = get_logger(__name__)

ID_LENGTH = 64
"""Characters of a failure's id."""
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


def take_in_many(payloads: Sequence[Mapping[str, object]], actor: str) -> list[Accepted | RecoveryError]:
    """Commit a batch of reports in one transaction; what is refused comes back as the error. What follows is for `proceed_all` to start.

    Raises:
        StoreUnavailable: nothing was decided; the whole batch must be kept and handed in again.
    """
    return platform().desk.report_many(payloads, actor)


def proceed_all(answers: Sequence[Accepted | RecoveryError]) -> None:
    """Advance what a batch opened, the most severe first. Whatever cannot be advanced now is due already: the tick does it."""
    accepted = [answer for answer in answers if isinstance(answer, Accepted)]
    for one in sorted(accepted, key=lambda one: one.recovery.severity.rank):
        try:
            proceed(one)
        except StoreUnavailable as error:
            logger.warning("what was just opened waits for the tick: %s", error.message)
            return
        except Exception:
            logger.exception("recovery %s waits for the tick", one.recovery.id)


def proceed(accepted: Accepted) -> None:
    """Advance a recovery that was just opened; one that was merged into is under way already."""
    if accepted.intake is Intake.OPENED:
        obey(platform().coordinator.advance(accepted.recovery.id))


def refuse(garbage: Sequence[tuple[str, str]]) -> None:
    """Note in the audit trail what was handed in as a report and is none: what is wrong with it, and the entry as it was."""
    platform().store.refuse([Refusal("stream", "FAILURE_INVALID", reason, utcnow(), report=raw[:SHOWN]) for reason, raw in garbage])


def answer(accepted: Accepted) -> JsonObject:
    """Return what became of a report or request, as JSON."""
    return {
        "recovery_id": accepted.recovery.id,
        "intake": accepted.intake.value,
        "service": accepted.recovery.service,
        "plan": [attempt.strategy for attempt in accepted.recovery.plan.attempts],
    }
