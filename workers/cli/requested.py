"""What became of a request by hand, in words: begun, held and by whom, only rehearsed, left alone, or merged into what was open already."""

from typing import Any

from recovery.models import Recovery, RecoveryState
from workers.cli.edge import OK
from workers.cli.follow import exit_code_of
from workers.cli.words import without_echo, without_left_out

LET_GO = {
    "kill_switch": "`recovery resume` lets it go on; --force passes over the pause.",
    "cooldown": "--force passes over the cooldown.",
    "approval": "`recovery approve {id}` answers.",
}
"""Guard -> what a person can do about it."""
BECAME = {RecoveryState.SUCCEEDED: "has succeeded", RecoveryState.FAILED: "has failed"}
REHEARSED = "dry run ("
"""How the reason of a recovery begins that the recovery's, the service's or the platform's dry run kept from beginning."""


def requested(answer: dict[str, Any], found: Recovery | None) -> list[str]:
    """Return it line by line: what became of it, why and what to do, where to look.

    Args:
        answer: what the task `recovery.trigger` answered.
        found: the recovery by now; None: nobody can tell.
    """
    look = [f"Follow it with `recovery show {str(answer['recovery_id'])[:8]}`."] if found is None or found.state.is_open else []
    return [headline(answer, found), *(standing_of(found, merged=_is_merged(answer)) if found else ()), *look]


def exit_code(found: Recovery | None) -> int:
    """Return 0 for what has begun, may begin yet, or was asked for as a dry run; else what `--wait` returns: nothing will be done."""
    if found is None or found.state.is_open or found.started_at is not None:
        return OK
    return OK if found.dry_run and _is_rehearsal(found) else exit_code_of(found)


def headline(answer: dict[str, Any], found: Recovery | None) -> str:
    """Return what became of it, in one line."""
    recovery_id, service = answer["recovery_id"], answer["service"]
    plan = ", ".join(answer.get("plan", ())) or "nothing that can be done"
    if _is_merged(answer):
        return f"A recovery of {service} is open already, the request was merged into it: {recovery_id} ({plan})."
    return f"Recovery {recovery_id} of {service} {_became(found)}: {plan}."


def as_table(answer: dict[str, Any], found: Recovery | None) -> dict[str, Any]:
    """Return it with the field names that `trigger --json` prints."""
    if found is None:
        return answer
    return answer | {
        "state": found.state,
        "outcome": found.outcome,
        "held_by": found.held_by,
        "reason": found.reason,
        "due_at": found.due_at,
    }


def _is_merged(answer: dict[str, Any]) -> bool:
    return bool(answer["intake"] == "merged")


def _became(found: Recovery | None) -> str:
    if found is None:
        return "was taken in"
    if found.started_at is not None:
        return "has begun"
    if found.state.is_open:
        return "waits and has not begun" if found.held_by else "was taken in"
    return "is a dry run, nothing is touched" if _is_rehearsal(found) else "does not begin"


def _is_rehearsal(found: Recovery) -> bool:
    return found.reason.startswith(REHEARSED)


def standing_of(found: Recovery, *, merged: bool) -> list[str]:
    """Return what stands in its way, and what a person can do about it; nothing for one that has just begun."""
    from workers.cli.render import moment

    reason = without_echo(without_left_out(found.reason, found.plan)).rstrip(".")
    if not found.state.is_open:
        return [f"It {BECAME.get(found.state, f'is {found.state}')}: {reason}."]
    if not found.held_by:
        return [f"It is under way: {reason}."] if merged else []
    again = f" It is looked at again at {moment(found.due_at)}, or before." if found.due_at else ""
    told = f"Held by {found.held_by}: {reason}.{again}"
    return [told, LET_GO[found.held_by].format(id=found.id[:8])] if found.held_by in LET_GO else [told]
