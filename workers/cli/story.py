"""`show` and `why`: the story of one recovery, and the decisions about one service."""

from typing import TYPE_CHECKING, Any

import click

from recovery.errors import RecoveryNotFound, nearest
from recovery.models import Approval, Recovery, RecoveryState
from workers.cli.words import purpose, what_then, without_echo, without_left_out

if TYPE_CHECKING:
    from recovery.history import NotedDecision, Story
    from workers.cli.parts import Parts

SHORTEST_ID = 6


@click.command(short_help="Tell the story of one recovery.")
@click.argument("recovery")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(*, recovery: str, as_json: bool) -> None:
    """Tell the story of one RECOVERY: its id, the first 6 or more characters of it, or a service (its newest one)."""
    from workers.cli.parts import Parts

    parts = Parts()
    print_story(parts, find(parts, recovery).id, as_json=as_json)


@click.command(short_help="Show why something was done or not.")
@click.argument("service")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True, help="Decisions to print, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def why(*, service: str, limit: int, as_json: bool) -> None:
    """Show what was decided about SERVICE: by which guard, with which numbers, and when it may act again."""
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_lines

    parts = Parts()
    parts.require_service(service)
    found = parts.history.decisions(service, limit)
    if as_json:
        print_json([decision_table(each) for each in found])
        return
    print_lines(held_lines(parts, service), hang=10)
    if not found:
        click.echo(f"Nothing was ever decided about {service}.")
    for each in found:
        print_lines(decision_lines(each), hang=10)


def find(parts: "Parts", text: str, *, only_open: bool = False) -> Recovery:
    """Return the recovery with this id or beginning of an id, else the open (or newest) one of the service with this name."""
    is_name = text.isprintable()
    found = parts.store.recovery(text) if is_name and len(text) >= SHORTEST_ID else None
    if found is None and is_name:
        found = parts.store.open_recovery_of(text)
    if found is None and is_name and not only_open:
        found = next(iter(parts.history.recoveries(service=text, limit=1)), None)
    if found is not None:
        return found
    if text in parts.service_names():
        raise RecoveryNotFound(f"{text} has no {'open ' if only_open else ''}recovery")
    meant = nearest(text, parts.service_names())
    if len(text) < SHORTEST_ID:
        raise RecoveryNotFound(
            f"no service is called '{text}'{meant} (or type the first {SHORTEST_ID} characters of an id: `recovery history`)"
        )
    raise RecoveryNotFound(f"no recovery has an id that begins with '{text}', and no service is called so{meant} (ids: `recovery history`)")


def print_story(parts: "Parts", recovery_id: str, *, as_json: bool) -> None:
    """Print all that is known about one recovery."""
    from workers.cli.render import print_json, print_lines

    found = parts.history.story(recovery_id)
    if found is None:
        raise RecoveryNotFound(f"recovery {recovery_id} is not in the history any more")
    approval = parts.store.approval(recovery_id)
    if as_json:
        print_json(as_table(found, approval))
    else:
        print_lines(lines(found, approval), hang=12)


def held_lines(parts: "Parts", service: str) -> list[str]:
    """Return why nothing is done about a service right now, if a recovery of it is held."""
    from workers.cli.render import moment

    held = parts.store.open_recovery_of(service)
    if held is None or not held.held_by:
        return []
    answer = f"; `recovery approve {held.id[:8]}`" if held.state is RecoveryState.AWAITING_APPROVAL else ""
    again = f"; looks again at {moment(held.due_at)}" if held.due_at else ""
    return [f"Now       recovery {held.id[:8]} is held by {held.held_by}: {without_echo(held.reason)}{again}{answer}", ""]


def as_table(found: "Story", approval: Approval | None = None) -> dict[str, Any]:
    """Return a story with the field names that `show --json` prints."""
    from workers.cli.render import plain

    recovery = found.recovery
    return {
        "recovery": recovery,
        "detected_after": _detected_after(recovery),
        "recovered_after": recovery.recovery_seconds,
        "failures": found.failures,
        "attempts": [{**plain(each), "steps": [step for step in found.steps if step.attempt == each.number]} for each in found.attempts],
        "decisions": [decision_table(each) for each in found.decisions],
        "events": [{"id": each.id, **plain(each.event)} for each in found.events],
        "approval": approval,
    }


def lines(found: "Story", approval: Approval | None = None) -> list[str]:
    """Return a story as lines to read."""
    return [*_head(found), *_asked(approval), "\nWhat happened", *_attempts(found), *_decisions(found)]


def _asked(approval: Approval | None) -> list[str]:
    from workers.cli.render import moment

    if approval is None:
        return []
    asked = f"Approval    asked at {moment(approval.asked_at)}"
    if approval.answer is None or approval.answered_at is None:
        return [f"{asked}, lapses at {moment(approval.until)} without an answer"]
    comment = f": {approval.comment}" if approval.comment else ""
    return [f"{asked}, {approval.answer} by {approval.answered_by} at {moment(approval.answered_at)}{comment}"]


def _head(found: "Story") -> list[str]:
    from workers.cli.render import duration, moment

    recovery, plan = found.recovery, found.recovery.plan
    outcome = recovery.outcome.value if recovery.outcome else "still open" if recovery.state.is_open else "none"
    reason = without_echo(without_left_out(recovery.reason, plan))
    told = [
        f"Recovery    {recovery.id} ({recovery.kind}{', dry run' if recovery.dry_run else ''}{', forced' if recovery.force else ''})",
        f"Service     {recovery.service}",
        f"State       {recovery.state}, outcome: {outcome}" + (f" ({reason})" if reason else ""),
        f"Task        {purpose(recovery)}: {recovery.message or '-'}"
        if plan.source == "restore"
        else f"Failure     {recovery.category}, {recovery.severity}: {recovery.message or '-'}",
    ]
    if recovery.held_by and recovery.state.is_open:
        again = f" (looks again at {moment(recovery.due_at)})" if recovery.due_at else ""
        told.append(f"Held by     {recovery.held_by}{again}")
    if found.failures:
        sources = ", ".join(sorted({failure.source for failure in found.failures}))
        told.append(f"Reported    {_count(recovery.failures)} by {sources}, last at {moment(found.failures[-1].occurred_at)}")
    times = f"Times       first seen {moment(recovery.first_evidence_at)}, detected after {duration(_detected_after(recovery))}"
    closed = f", closed after {duration(recovery.recovery_seconds)}" if recovery.recovery_seconds is not None else ""
    planned = ", ".join(each.strategy for each in plan.attempts) or "nothing that can be done"
    told += [times + closed, f"Plan        {planned} ({plan.source}; about {duration(plan.estimated_seconds)})"]
    return [*told, *(f"Left out    {each.strategy}: {each.why}" for each in plan.left_out)]


def _attempts(found: "Story") -> list[str]:
    from workers.cli.follow import attempt_lines

    told = [
        f"  {line}"
        for attempt in found.attempts
        for line in attempt_lines(attempt, [step for step in found.steps if step.attempt == attempt.number])
    ]
    return told or ["  no strategy was run"]


def _decisions(found: "Story") -> list[str]:
    from workers.cli.render import moment

    told = []
    for each in found.decisions:
        made = each.decision
        reason = without_echo(without_left_out(made.reason, found.recovery.plan))
        then = what_then(made)
        strategy = f" {made.strategy}" if made.strategy else ""
        told.append(
            f"  {moment(made.at)}  {made.choice}{strategy} by {made.guard}: {reason}{_times(each.repeats)}" + (f"; {then}" if then else "")
        )
    return ["\nDecisions", *told] if told else []


def _times(repeats: int) -> str:
    return f" ({_count(repeats + 1)})" if repeats else ""


def _count(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _detected_after(recovery: Recovery) -> float:
    return max(0.0, (recovery.created_at - recovery.first_evidence_at).total_seconds())


def decision_table(each: "NotedDecision") -> dict[str, Any]:
    """Return a decision with the field names that `why --json` prints."""
    from workers.cli.render import plain

    return {**plain(each.decision), "repeats": each.repeats, "last_at": each.last_at}


def decision_lines(each: "NotedDecision") -> list[str]:
    """Return one decision as a head line, then the reason, the numbers and when it may act again."""
    from workers.cli.render import moment

    made = each.decision
    about = [f"recovery {made.recovery_id[:8]}"] if made.recovery_id else []
    about += [_count(each.repeats + 1)] if each.repeats else []
    strategy = f" {made.strategy}" if made.strategy else ""
    told = [f"{moment(each.last_at or made.at)}  {made.choice}{strategy} by {made.guard}" + (f"  ({', '.join(about)})" if about else "")]
    told.append(f"          {without_echo(made.reason)}")
    if made.facts:
        told.append(f"          {', '.join(f'{key}={value}' for key, value in made.facts.items())}")
    if then := what_then(made):
        told.append(f"          {then}")
    return told
