"""`silence`, `deploy`, `pause` and `resume`: when automatic recoveries shall wait. Straight to the database, broker or not."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from recovery.models import Silence, SilenceKind, utcnow
from workers.cli.arguments import Label, Length, Moment
from workers.cli.direct import by_option

if TYPE_CHECKING:
    from recovery.engine.silencing import Silencing
    from workers.cli.parts import Parts

COLUMNS = ("id", "kind", "covers", "from", "until", "by", "reason")

SILENCE_EXAMPLES = """
\b
Examples:
  recovery silence                                    what is in force and to come
  recovery silence shop cache --for 30m --reason "new disks"
  recovery silence --label team=payments --until 2026-01-31T08:00 --reason "audit"
  recovery silence --lift 3f0c9a12
"""
DEPLOY_EXAMPLES = """
\b
Examples:
  recovery deploy shop            before a roll-out
  recovery deploy shop --done     after it
"""
PAUSE_EXAMPLES = """
\b
Example:
  recovery pause --reason "the network is being rebuilt"
"""


@click.command(short_help="Let recoveries of some services wait for a while.", epilog=SILENCE_EXAMPLES)
@click.argument("services", nargs=-1, metavar="[SERVICE]...")
@click.option("--label", "labels", type=Label(), multiple=True, help="Services that bear it; several: all of them.")
@click.option("--all", "everything", is_flag=True, help="Every service.")
@click.option("--for", "length", type=Length(), metavar="LENGTH", help="How long: 90s, 30m, 2h, 1d, or plain seconds.")
@click.option("--until", type=Moment(), metavar="TIME", help="To when: 2026-01-31T08:00; without a zone it is local.")
@click.option("--from", "since", type=Moment(), metavar="TIME", help="From when on; default: now.")
@click.option("--reason", help="Why; whoever finds it wants to know.")
@click.option("--lift", metavar="ID", help="End a silence: its id, or the first 6 or more characters of it.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def silence(
    *,
    services: tuple[str, ...],
    labels: tuple[tuple[str, str], ...],
    everything: bool,
    length: timedelta | None,
    until: datetime | None,
    since: datetime | None,
    reason: str | None,
    lift: str | None,
    by: str,
    as_json: bool,
) -> None:
    """Let automatic recoveries of SERVICE... wait; without anything, list what is in force and to come.

    Services are still watched, and what is started by hand is carried out. When a silence ends, what it held looks again.
    """
    from recovery.engine.silencing import Wish

    names_something = bool(services or labels or everything)
    if lift is not None:
        if names_something or length or until or since or reason:
            raise click.UsageError("--lift ID ends a silence; it goes with --by and --json only")
        parts, silencing = _silencing()
        _told_lifted(parts, [silencing.lift(lift, by)], as_json=as_json)
        return
    if not (names_something or length or until or since or reason):
        _, silencing = _silencing()
        _list(silencing.all(), as_json=as_json)
        return
    if not names_something:
        raise click.UsageError("say what to silence: SERVICE..., --label key=value, or --all")
    if (length is None) == (until is None):
        raise click.UsageError("say how long: either --for 30m or --until 2026-01-31T08:00")
    if not reason:
        raise click.UsageError("say why: --reason TEXT")
    ends = until if until is not None else (since or utcnow()) + (length or timedelta())
    _, silencing = _silencing()
    _told_put([silencing.put(Wish(by, reason, ends, services, dict(labels), everything, since))], as_json=as_json)


@click.command(short_help="Mark that a new version is being rolled out.", epilog=DEPLOY_EXAMPLES)
@click.argument("services", nargs=-1, required=True, metavar="SERVICE...")
@click.option("--for", "length", type=Length(), default="10m", show_default=True, metavar="LENGTH", help="How long at most: 90s, 30m, 2h.")
@click.option("--done", is_flag=True, help="The roll-out is over.")
@click.option("--reason", default="", help="Such as the version; goes into the history.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def deploy(*, services: tuple[str, ...], length: timedelta, done: bool, reason: str, by: str, as_json: bool) -> None:
    """Let automatic recoveries of SERVICE... wait while a new version is rolled out; `--done` ends that early."""
    from recovery.engine.silencing import Wish

    parts, silencing = _silencing()
    if done:
        for name in services:
            parts.require_service(name)
        _told_lifted(parts, silencing.deployed(services, by), as_json=as_json)
        return
    _told_put(silencing.deploy(Wish(by, reason or "a new version is rolled out", utcnow() + length, services)), as_json=as_json)


@click.command(short_help="Let every recovery wait (kill switch).", epilog=PAUSE_EXAMPLES)
@click.option("--reason", default="", help="Why; goes into the history.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pause(*, reason: str, by: str, as_json: bool) -> None:
    """Let every recovery wait until `recovery resume`; remedies at work are carried to their end, and checks go on.

    Only `recovery trigger --force` and `recovery emergency` pass. Exit code 1 if it is paused already.
    """
    _, silencing = _silencing()
    _told_put([silencing.pause(by, reason)], as_json=as_json)


@click.command(short_help="End a pause.")
@by_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def resume(*, by: str, as_json: bool) -> None:
    """End a pause: recoveries that waited for it look again at once. Exit code 1 if nothing is paused."""
    parts, silencing = _silencing()
    _told_lifted(parts, silencing.resume(by), as_json=as_json)


def covered(silence: Silence) -> str:
    """Return whom a silence is about, in words."""
    if not silence.services and not silence.labels:
        return "every service"
    labels = [" and ".join(f"{key}={value}" for key, value in silence.labels.items())] if silence.labels else []
    return ", ".join([*silence.services, *labels])


def row_of(silence: Silence) -> list[object]:
    """Return the cells for one silence, under `COLUMNS`; a window's whole name is its id."""
    short = silence.id if silence.kind is SilenceKind.MAINTENANCE else silence.id[:8]
    return [short, silence.kind, covered(silence), silence.since, silence.until or "resumed", silence.author, silence.reason]


def _silencing() -> "tuple[Parts, Silencing]":
    from recovery.engine.silencing import Silencing
    from workers.cli.direct import fleet_of, quieten
    from workers.cli.parts import Parts

    quieten()
    parts = Parts()
    return parts, Silencing(parts.store, lambda: fleet_of(parts), utcnow)


def _list(found: list[Silence], *, as_json: bool) -> None:
    from workers.cli.render import print_json, print_table

    if as_json:
        now = utcnow()
        print_json([{**_plain(each), "in_force": each.in_force(now)} for each in found])
        return
    print_table(COLUMNS, [row_of(each) for each in found], empty="Nothing is silenced, and no window is to come.", drop=("by", "from"))


def _told_put(put: list[Silence], *, as_json: bool) -> None:
    from workers.cli.render import print_json

    if as_json:
        print_json(put)
        return
    for each in put:
        click.echo(put_line(each))


def put_line(silence: Silence) -> str:
    """Return what was put in force, and how to end it."""
    from workers.cli.render import moment

    if silence.until is None:
        return "Paused: every recovery waits but emergencies and what is forced. `recovery resume` ends it."
    until = f"until {moment(silence.until)}"
    if silence.kind is SilenceKind.DEPLOY:
        return f"Deploy of {covered(silence)} marked {until}. `recovery deploy {silence.services[0]} --done` ends it early."
    begins = f"from {moment(silence.since)} " if silence.since > silence.created_at else ""
    return f"Silenced {covered(silence)} {begins}{until}. `recovery silence --lift {silence.id[:8]}` ends it early."


def _told_lifted(parts: "Parts", lifted: list[Silence], *, as_json: bool) -> None:
    from workers.cli.direct import AWAY, nudge
    from workers.cli.render import print_json

    now = utcnow()
    woken = [
        each.id
        for each in parts.store.open_recoveries()
        if each.held_by in {silence.kind for silence in lifted} and _is_due(each.due_at, now)
    ]
    is_told = nudge(woken)
    if as_json:
        print_json({"lifted": lifted, "woken": woken, "nudged": is_told})
        return
    for each in lifted:
        click.echo("Resumed." if each.kind is SilenceKind.KILL_SWITCH else f"Lifted the {each.kind} of {covered(each)}.")
    if woken:
        click.echo("1 recovery that waited looks again." if len(woken) == 1 else f"{len(woken)} recoveries that waited look again.")
    if not is_told:
        click.echo(f"{AWAY}.")


def _is_due(due_at: datetime | None, now: datetime) -> bool:
    return due_at is not None and due_at <= now


def _plain(silence: Silence) -> dict[str, object]:
    from workers.cli.render import plain

    table: dict[str, object] = plain(silence)
    return table
