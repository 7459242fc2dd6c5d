"""Queue `failures`: what people say about acting, for clients of any language. The command line writes the same without a broker."""

from datetime import datetime, timedelta
from uuid import UUID, uuid5

from celery import Task

from recovery.engine.consent import Consent
from recovery.engine.silencing import Silencing, Wish
from recovery.errors import ApprovalRefused, SilenceInvalid, listing, nearest
from recovery.models import Answer, Approval, JsonObject, Silence, SilenceKind, utcnow
from workers.celery import app
from workers.dispatch import obey
from workers.wiring import platform

SILENCES = UUID("1d3f5c0a-0c52-4d4f-9d0e-5b8e7a4c2f60")
"""Namespace in which the id of a message gives the id of its silence."""
ASKABLE = {str(kind): kind for kind in (SilenceKind.SILENCE, SilenceKind.DEPLOY, SilenceKind.KILL_SWITCH)}


@app.task(name="recovery.approve", shared=False, ignore_result=False)  # type: ignore[untyped-decorator]
def approve(
    recovery_id: str,
    *,
    by: str,
    approve: bool = True,
    comment: str = "",
) -> JsonObject:
    """Answer the question whether a recovery may act; the first answer wins, and the same message twice is one answer.

    Args:
        recovery_id: a full id, or a unique prefix of at least 6 characters.
        by: who answers.
        approve: False rejects.
        comment: goes into the history.

    Raises:
        RecoveryNotFound: no recovery has this id.
        ApprovalRefused: not an approver, never asked, closed, lapsed, or somebody was first.
    """
    answer = Answer.APPROVED if approve else Answer.REJECTED
    try:
        given = Consent(platform().store, platform().fleet, utcnow).answer(recovery_id, answer, by, comment)
    except ApprovalRefused as refused:
        first = refused.payload.get("approval")
        if not (isinstance(first, Approval) and (first.answer, first.answered_by) == (answer, by)):
            raise
        given = first
    obey(platform().coordinator.advance(given.recovery_id))
    return {"recovery_id": given.recovery_id, "answer": str(given.answer), "by": given.answered_by, "comment": given.comment}


@app.task(name="recovery.silence", shared=False, ignore_result=False, bind=True)  # type: ignore[untyped-decorator]
def silence(  # noqa: D417 - Celery hands in the task itself
    self: Task,
    *,
    by: str,
    reason: str,
    seconds: float | None = None,
    until: str | None = None,
    since: str | None = None,
    services: list[str] | None = None,
    labels: dict[str, str] | None = None,
    everything: bool = False,
    kind: str = "silence",
) -> JsonObject:
    """Let automatic recoveries wait; the same message twice is one silence.

    Args:
        by: who asks for it.
        reason: why.
        seconds: how long, from `since` on.
        until: the end as a date and time with a zone, instead of `seconds`.
        since: the beginning; default: now.
        services: names of declared services.
        labels: services that bear all of these are covered, too.
        everything: every service; without it, services or labels must be named.
        kind: `silence`, `deploy`, or `kill_switch` (then only `by` and `reason` count).

    Returns:
        `id`, `kind`, `since`, `until` and whom it covers.

    Raises:
        ServiceNotFound: a service is not declared.
        UnknownName: no declared service bears the labels.
        SilenceInvalid: something else about it is wrong.
        PauseUnchanged: the kill switch is on already.
    """
    silencing = Silencing(platform().store, platform().fleet, utcnow)
    if kind not in ASKABLE:
        raise SilenceInvalid(f"unknown kind '{kind[:40]}'{nearest(kind, ASKABLE)} (known: {listing(ASKABLE)})")
    if ASKABLE[kind] is SilenceKind.KILL_SWITCH:
        return _table(silencing.pause(by, reason))
    begins, named = _moment("since", since), tuple(services or ())
    message = str(uuid5(SILENCES, self.request.id))
    ends = _end(begins, seconds, _moment("until", until))
    return _table(silencing.put(Wish(by, reason, ends, named, dict(labels or {}), everything, begins, ASKABLE[kind], message)))


@app.task(name="recovery.lift", shared=False, ignore_result=False)  # type: ignore[untyped-decorator]
def lift(silence_id: str, *, by: str) -> JsonObject:
    """End a silence, a deploy marker or the kill switch; what it held is looked at by the next tick.

    Args:
        silence_id: a full id, or a unique prefix of at least 6 characters.
        by: who ends it.

    Raises:
        SilenceNotFound: none of this id is in force or to come.
        SilenceInvalid: it is declared in `recovery.toml`.
    """
    lifted = Silencing(platform().store, platform().fleet, utcnow).lift(silence_id, by)
    return {"id": lifted.id, "kind": str(lifted.kind), "by": lifted.lifted_by}


def _moment(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SilenceInvalid(f"'{name}' must be a date and time such as 2026-01-31T08:00+01:00, not '{text[:100]}'") from None
    if moment.tzinfo is None:
        raise SilenceInvalid(f"'{name}' needs a zone: 2026-01-31T08:00Z or 2026-01-31T08:00+01:00")
    return moment


def _end(begins: datetime | None, seconds: float | None, until: datetime | None) -> datetime:
    if (seconds is None) == (until is None):
        raise SilenceInvalid("say either 'seconds' or 'until'")
    if until is not None:
        return until
    try:
        return (begins or utcnow()) + timedelta(seconds=seconds or 0.0)
    except (OverflowError, ValueError):
        raise SilenceInvalid(f"'seconds' must be a number of seconds, not {seconds:g}") from None


def _table(put: Silence) -> JsonObject:
    return {
        "id": put.id,
        "kind": str(put.kind),
        "since": put.since.isoformat(),
        "until": put.until.isoformat() if put.until else None,
        "services": list(put.services),
        "labels": dict(put.labels),
    }
