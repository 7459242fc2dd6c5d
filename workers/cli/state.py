"""`status` and `services`: how everything is right now."""

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from recovery.models import CheckState, Recovery, RecoveryState, ServiceState, Status, utcnow
from workers.cli.degraded import UNKNOWN, in_force, level_of, sentences
from workers.cli.standing import alarms, as_table, print_standing, standing
from workers.cli.words import needs

if TYPE_CHECKING:
    from recovery.config.fleet import Fleet
    from recovery.settings import Settings
    from workers.cli.parts import Parts

STALE_AFTER = 10.0
"""Seconds beyond the shortest interval after which a missing sweep means that the platform is not running."""
CHECK_COLUMNS = ("check", "type", "every", "status", "seen", "latency", "message")
NOBODY_LOOKS = "Nobody is looking: no sweep was recorded lately. Is the platform running? (`recovery up`)"


@click.command(short_help="Show how every service is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(*, as_json: bool) -> None:
    """Show how every service is, what is done about it, what waits and why, and how the platform itself does.

    Exit code 3 if a service is unhealthy, or if nobody is looking and nothing is known.
    """
    from workers.cli.edge import NOT_HEALTHY
    from workers.cli.parts import Parts
    from workers.cli.render import print_json

    parts = Parts()
    found = snapshot(parts, utcnow())
    if found["stale"]:
        click.echo(_nobody_looks(parts.settings), err=as_json)
    if as_json:
        print_json(as_table(found))
    else:
        _print(found)
    if found["stale"] or any(service["status"] is Status.UNHEALTHY for service in found["services"]):
        raise click.exceptions.Exit(NOT_HEALTHY)


@click.command(short_help="Show what is declared.")
@click.argument("service", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def services(*, service: str | None, as_json: bool) -> None:
    """Show what is declared: every service, or the checks of one SERVICE."""
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_table

    parts = Parts()
    if service is not None:
        parts.require_service(service)
        rows = _checks(parts, service)
        if as_json:
            print_json(rows)
        else:
            seen = [[row[column] for column in CHECK_COLUMNS] for row in rows]
            print_table(CHECK_COLUMNS, seen, empty=f"{service} has no checks.", drop=("latency", "every", "type", "seen"))
        return
    declared = _declared(parts)
    if as_json:
        print_json(declared)
        return
    columns = ("service", "status", "autonomy", "checks", "driver", "remedies", "depends_on", "description")
    cells = [[_declared_cell(row, column) for column in columns] for row in declared]
    print_table(columns, cells, empty="No service is declared.", drop=("description", "depends_on", "driver", "remedies", "autonomy"))


def snapshot(parts: "Parts", now: datetime) -> dict[str, Any]:
    """Return the state of the fleet, with the field names that `status --json` prints."""
    fleet, states, still_open = parts.fleet, parts.store.service_states(), parts.store.open_recoveries()
    recoveries = {recovery.service: recovery for recovery in still_open}
    names = [*(fleet.services if fleet else sorted(states))]
    degradations = in_force(parts.settings)
    rows = [
        {**_service(parts, states.get(name, ServiceState(name)), recoveries.get(name)), "degradation": level_of(name, degradations)}
        for name in names
    ]
    seen = max((state.seen_at for state in states.values() if state.seen_at), default=None)
    return {
        "at": now,
        "config_version": fleet.version if fleet else None,
        "last_sweep_at": seen,
        "stale": _is_stale(fleet, seen, now),
        "counts": dict(Counter(row["status"].value for row in rows)),
        "services": rows,
        "degradations": degradations,
        "mitigations": parts.store.mitigations(),
        **standing(parts, still_open, states, now),
    }


def _nobody_looks(settings: "Settings") -> str:
    """Say that no sweep arrives, and that Redis is why, if it does not answer."""
    from redis.exceptions import RedisError

    from recovery.settings import redact
    from recovery.store.connect import connect

    if settings.embedded and not settings.socket.exists():
        return NOBODY_LOOKS
    with connect(settings.redis) as redis:
        try:
            redis.ping()
        except RedisError as error:
            return (
                f"Nobody is looking: Redis at {redact(settings.redis)} does not answer ({error}). Is the platform running? (`recovery up`)"
            )
    return NOBODY_LOOKS


def headline(found: dict[str, Any]) -> str:
    """Return the state of the fleet in one line."""
    from workers.cli.render import ago, counted

    number = len(found["services"])
    counts = f"{number} unknown" if found["stale"] else ", ".join(f"{many} {word}" for word, many in found["counts"].items())
    return f"{counted(number, 'service')}: {counts or 'none'}. Last sweep {ago(found['last_sweep_at'], found['at'])}."


def service_rows(found: dict[str, Any]) -> list[list[object]]:
    """Return the rows of the table under `STATUS_COLUMNS`."""
    return [
        [row["service"], _status_cell(row, found), row["score"], row["since"], _recovery_cell(row), _message_cell(row)]
        for row in found["services"]
    ]


def degraded_lines(found: dict[str, Any]) -> list[str]:
    """Return a sentence for each degradation; that they are unknown, unless it is told already that nobody is looking."""
    if found["degradations"] is None:
        return [] if found["stale"] else [UNKNOWN]
    return sentences(found["degradations"], found["at"])


STATUS_COLUMNS = ("service", "status", "score", "since", "recovery", "message")
STATUS_DROP = ("score", "since")
"""What a narrow terminal does without, least important first."""


def _print(found: dict[str, Any]) -> None:
    from workers.cli.render import print_lines, print_table

    click.echo(headline(found))
    for line in alarms(found):
        click.echo(line)
    print_table(STATUS_COLUMNS, service_rows(found), empty="No service is declared.", drop=STATUS_DROP)
    if degraded := degraded_lines(found):
        click.echo("")
        print_lines(degraded, hang=4)
    if found["mitigations"]:
        click.echo("\nMitigated, to be restored when healthy:")
        rows = [[each.service, each.strategy, each.since, each.until, each.recovery_id[:8]] for each in found["mitigations"]]
        print_table(("service", "by", "since", "at most until", "recovery"), rows, empty="", drop=("since", "recovery"))
    print_standing(found, found["at"])


def _service(parts: "Parts", state: ServiceState, recovery: Recovery | None) -> dict[str, Any]:
    gave_up = _gave_up(parts, state.service) if recovery is None and state.status is Status.UNHEALTHY else None
    return {
        "service": state.service,
        "status": state.status,
        "score": state.score,
        "since": state.since,
        "seen_at": state.seen_at,
        "message": state.message,
        "recovery": None
        if recovery is None
        else {
            "id": recovery.id,
            "state": recovery.state,
            "attempt": recovery.attempt,
            "category": recovery.category,
            "reason": recovery.reason,
            "held_by": recovery.held_by,
        },
        "flapping": state.flapping,
        "gave_up": None if gave_up is None else {"id": gave_up.id, "state": gave_up.state, "reason": needs(gave_up)},
    }


def _gave_up(parts: "Parts", service: str) -> Recovery | None:
    """Return the newest recovery if it ended without success; what was only tried dry is passed over."""
    newest = next((each for each in parts.history.recoveries(service=service, limit=5) if not each.dry_run), None)
    return newest if newest and newest.state in {RecoveryState.FAILED, RecoveryState.SUPPRESSED, RecoveryState.CANCELLED} else None


def _status_cell(row: dict[str, Any], found: dict[str, Any]) -> str:
    status: Status = row["status"]
    if found["stale"] and status is not Status.UNKNOWN:
        return f"unknown (was {status.value})"
    return f"{status.value}, flapping" if row["flapping"] else status.value


def _recovery_cell(row: dict[str, Any]) -> str:
    last = row["recovery"] or row["gave_up"]
    if last is None:
        return "idle"
    held_by = last.get("held_by")
    return f"{last['id'][:8]} held by {held_by}" if held_by else f"{last['id'][:8]} {last['state'].value}"


def _message_cell(row: dict[str, Any]) -> str:
    last = row["recovery"] or row["gave_up"]
    return "; ".join(text for text in (last["reason"] if last else "", row["message"]) if text)


def _is_stale(fleet: "Fleet | None", seen: datetime | None, now: datetime) -> bool:
    """Say whether the shortest interval passed without a sweep."""
    if fleet is None or not fleet.intervals():
        return False
    return seen is None or (now - seen).total_seconds() > min(fleet.intervals()) + STALE_AFTER


def _declared(parts: "Parts") -> list[dict[str, Any]]:
    fleet, states = parts.fleet, parts.store.service_states()
    return [
        {
            "service": name,
            "status": states.get(name, ServiceState(name)).status,
            "managed": declared.managed,
            "autonomy": fleet.autonomy(name) if fleet else None,
            "flapping": states.get(name, ServiceState(name)).flapping,
            "checks": [check.name for check in declared.checks],
            "driver": declared.driver.kind if declared.driver else None,
            "remedies": sorted(declared.remedies),
            "depends_on": declared.depends_on,
            "description": declared.description,
        }
        for name, declared in (fleet.services if fleet else {}).items()
    ]


def _declared_cell(row: dict[str, Any], column: str) -> object:
    if column == "autonomy" and not row["managed"]:
        return "unmanaged"
    if column == "status" and row["flapping"]:
        return f"{row['status'].value}, flapping"
    value: object = row[column]
    return value


def _checks(parts: "Parts", service: str) -> list[dict[str, Any]]:
    fleet, states = parts.fleet, parts.store.check_states([service])
    declared = fleet.services[service].checks if fleet and service in fleet.services else ()
    rows = []
    for check in declared:
        state = states.get((service, check.name), CheckState(service, check.name))
        rows.append(
            {
                "check": check.name,
                "type": check.kind,
                "every": check.interval,
                "status": state.status,
                "seen": state.at,
                "latency": state.latency if state.at else None,
                "failures": state.failures,
                "message": state.message,
            }
        )
    return rows
