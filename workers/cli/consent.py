"""`approve`: see what waits for somebody's yes, and say yes or no. Straight to the database: it works while the broker is down."""

import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from recovery.models import Answer, Recovery, RecoveryState, utcnow
from workers.cli.direct import by_option

if TYPE_CHECKING:
    from recovery.engine.consent import Consent, Question
    from workers.cli.parts import Parts

PATIENCE = 2.0
"""Seconds in which a worker may look again after a yes."""
PAUSE = 0.05
"""Seconds between two looks at the database."""
COLUMNS = ("id", "service", "would run", "asked", "lapses in", "reason")

EXAMPLES = """
\b
Examples:
  recovery approve                       what waits for an answer
  recovery approve shop                  yes, recover shop
  recovery approve 3f0c9a12 --reject --comment "wait for the backup"
"""


@click.command(short_help="Say yes or no to a recovery that asks.", epilog=EXAMPLES)
@click.argument("recovery", required=False)
@click.option("--reject", is_flag=True, help="Say no: the recovery is not carried out.")
@by_option
@click.option("--comment", default="", help="Goes into the history.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def approve(*, recovery: str | None, reject: bool, by: str, comment: str, as_json: bool) -> None:
    """Approve or reject a RECOVERY that asks (its id, 6 or more characters of it, or its service); without one, list what asks.

    The first answer counts; if another guard holds the recovery after a yes, that is told.
    Exit code 1 if somebody was faster, the question lapsed, or you may not answer.
    """
    from recovery.engine.consent import Consent
    from workers.cli.direct import AWAY, fleet_of, nudge, quieten
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_lines
    from workers.cli.requested import standing_of
    from workers.cli.story import find

    quieten()
    parts = Parts()
    consent = Consent(parts.store, lambda: fleet_of(parts), utcnow)
    if recovery is None:
        if reject or comment:
            raise click.UsageError("say which RECOVERY is meant; `recovery approve` lists what asks")
        _list(consent, as_json=as_json)
        return
    found = find(parts, recovery)
    given = consent.answer(found.id, Answer.REJECTED if reject else Answer.APPROVED, by, comment)
    is_told = nudge([found.id])
    held = _held_afterwards(parts, found.id) if is_told and not reject else None
    if as_json:
        held_by = held.held_by if held else None
        print_json({"recovery_id": found.id, "service": found.service, "approval": given, "nudged": is_told, "held_by": held_by})
        return
    look = f"`recovery show {found.id[:8]}`"
    told = [f"{str(given.answer).capitalize()} by {given.answered_by}: recovery {found.id[:8]} of {found.service}. Follow it with {look}."]
    told += standing_of(held, merged=False) if held else []
    if not is_told:
        without = "" if reject else f"; `recovery emergency {found.service}` recovers without it"
        told.append(f"{AWAY}{without}.")
    print_lines(told, hang=4)


def _held_afterwards(parts: "Parts", recovery_id: str) -> Recovery | None:
    """Return a recovery that another guard holds after the yes; None if none does, or nobody knows within `PATIENCE`."""
    from recovery.errors import StoreUnavailable

    deadline = time.monotonic() + PATIENCE
    try:
        while (found := parts.store.recovery(recovery_id)) and found.state is RecoveryState.AWAITING_APPROVAL:
            if time.monotonic() > deadline:
                return None
            time.sleep(PAUSE)
    except StoreUnavailable:  # the answer counts all the same
        return None
    return found if found and found.state.is_open and found.held_by else None


def question_row(each: "Question", now: datetime) -> list[object]:
    """Return the cells for one question, under `COLUMNS`."""
    from workers.cli.words import without_echo

    return [
        each.recovery.id[:8],
        each.recovery.service,
        ", then ".join(each.strategies),
        each.approval.asked_at,
        (each.approval.until - now).total_seconds(),
        "; ".join(text for text in (without_echo(each.recovery.reason), each.recovery.message) if text),
    ]


def _list(consent: "Consent", *, as_json: bool) -> None:
    from workers.cli.render import print_json, print_table
    from workers.cli.standing import question_table

    questions, now = consent.questions(), utcnow()
    if as_json:
        print_json([question_table(each) for each in questions])
        return
    print_table(COLUMNS, [question_row(each, now) for each in questions], empty="Nothing waits for an answer.", drop=("asked",))
