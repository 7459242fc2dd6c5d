"""What stands in the way of acting, or should be known beside it: the platform's own health, pauses, silences, questions, a storm."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from recovery.models import RecoveryState, Silence, SilenceKind, utcnow

if TYPE_CHECKING:
    from recovery.config.fleet import Fleet
    from recovery.engine.consent import Question
    from recovery.models import Recovery, ServiceState
    from recovery.watch import Part, PlatformHealth
    from workers.cli.parts import Parts


def standing(parts: "Parts", recoveries: "list[Recovery]", states: "dict[str, ServiceState]", now: datetime) -> dict[str, Any]:
    """Return it with the field names that `status --json` prints; without a configuration here, only what the database tells."""
    from recovery.decide.windows import maintenance

    fleet = parts.fleet
    windows = maintenance(fleet, now) if fleet else []
    in_force = [silence for silence in (*parts.store.silences(now), *windows) if silence.in_force(now)]
    return {
        "platform": _health(parts, fleet, recoveries, states, now) if fleet else None,
        "paused": next((silence for silence in in_force if silence.kind is SilenceKind.KILL_SWITCH), None),
        "silences": [silence for silence in in_force if silence.kind is not SilenceKind.KILL_SWITCH],
        "questions": _questions(parts) if any(each.state is RecoveryState.AWAITING_APPROVAL for each in recoveries) else [],
        "storm": _storm(fleet, recoveries) if fleet else None,
    }


def alarms(found: dict[str, Any]) -> list[str]:
    """Return what everybody who looks must know first, one line each."""
    from workers.cli.render import moment, printable

    paused: Silence | None = found["paused"]
    health: PlatformHealth | None = found["platform"]
    storm: dict[str, Any] | None = found["storm"]
    told = []
    if paused:
        told.append(f"Paused by {paused.author} since {moment(paused.since)}: {paused.reason} (`recovery resume`)")
    if health and health.blind and not found["stale"]:
        told.append(f"The platform is blind and does not act by itself: {health.blind}")
    if storm and storm["is_storm"]:
        most = f"{storm['concurrent']} at once"
        told.append(f"Storm: {storm['open']} of {storm['services']} services are sick; they are recovered {most}, the most severe first.")
    return [printable(line) for line in told]


def print_standing(found: dict[str, Any], now: datetime) -> None:
    """Print what stands in the way, a block for each kind."""
    from workers.cli.consent import COLUMNS, question_row
    from workers.cli.render import print_lines, print_table, printable
    from workers.cli.silence import COLUMNS as SILENCES
    from workers.cli.silence import row_of

    if found["questions"]:
        click.echo("\nWaits for a yes or no (`recovery approve ID`, `--reject`):")
        print_table(COLUMNS, [question_row(each, now) for each in found["questions"]], empty="", drop=("asked",))
    if found["silences"]:
        click.echo("\nSilenced, so that recoveries wait:")
        print_table(SILENCES, [row_of(each) for each in found["silences"]], empty="", drop=("by", "from"))
    health: PlatformHealth | None = found["platform"]
    if health and health.missed:
        click.echo(f"\nMissed: {printable(health.missed)}")
    if health and health.troubles and (not found["stale"] or _some_worker_lives(health)):
        click.echo(f"\nThe platform itself is {health.status}:")
        print_lines(troubles(health.troubles), hang=10)


def _some_worker_lives(health: "PlatformHealth") -> bool:
    """Say whether the platform runs in part, so that it is worth telling which parts are in trouble."""
    from recovery.watch import PartStatus
    from recovery.watch.signs import WORKER

    return any(part.name.startswith(WORKER) and part.status is PartStatus.OK for part in health.parts)


def troubles(parts: "Iterable[Part]") -> list[str]:
    """Return the parts that are not well, one line each; those that gave no sign of life yet share one."""
    from recovery.watch import PartStatus

    found = list(parts)
    unknown = [part.name for part in found if part.status is PartStatus.UNKNOWN]
    told = [f"  {part.status:<7}  {part.name}: {part.message}" for part in found if part.status is not PartStatus.UNKNOWN]
    return [*told, f"  {PartStatus.UNKNOWN}  no sign of life yet: {', '.join(unknown)}"] if unknown else told


def question_table(each: "Question") -> dict[str, Any]:
    """Return a question with the field names that `--json` prints."""
    return {
        "recovery_id": each.recovery.id,
        "service": each.recovery.service,
        "strategies": each.strategies,
        "severity": each.recovery.severity,
        "asked_at": each.approval.asked_at,
        "lapses_at": each.approval.until,
        "reason": each.recovery.reason,
        "message": each.recovery.message,
    }


def as_table(found: dict[str, Any]) -> dict[str, Any]:
    """Return what `status` shows, ready for JSON."""
    from workers.cli.degraded import as_table as degradation_table

    degraded = found["degradations"]
    degradations = None if degraded is None else [degradation_table(each, found["at"]) for each in degraded]
    return {**found, "questions": [question_table(each) for each in found["questions"]], "degradations": degradations}


def _health(
    parts: "Parts", fleet: "Fleet", recoveries: "list[Recovery]", states: "dict[str, ServiceState]", now: datetime
) -> "PlatformHealth":
    from recovery.watch import diagnose
    from workers.locate import beside

    store = parts.store
    queues, checks = beside("celeryconfig").QUEUES, store.check_states(states)
    return diagnose(store.pulses(), store.leases(), recoveries, states, fleet, now, queues, checks)


def _storm(fleet: "Fleet", recoveries: "list[Recovery]") -> dict[str, Any]:
    from recovery.decide.budget import concurrent, is_storm
    from recovery.models import Kind, Load

    unasked = [recovery for recovery in recoveries if recovery.kind in {Kind.AUTOMATIC, Kind.SCHEDULED}]
    in_progress = sum(recovery.state is RecoveryState.IN_PROGRESS for recovery in recoveries)
    load = Load(in_progress=in_progress, open=len(unasked))
    return {
        "is_storm": is_storm(fleet, load),
        "open": load.open,
        "services": len(fleet.services),
        "in_progress": in_progress,
        "concurrent": concurrent(fleet, load),
    }


def _questions(parts: "Parts") -> "list[Question]":
    from recovery.engine.consent import Consent
    from workers.cli.direct import fleet_of

    return Consent(parts.store, lambda: fleet_of(parts), utcnow).questions()
