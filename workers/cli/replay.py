"""`replay`: recorded decisions through the guards and the planner again, by this configuration or another one."""

import re
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workers.cli.arguments import Since

if TYPE_CHECKING:
    from recovery.config.fleet import Fleet
    from recovery.decide.replay import Replayed
    from recovery.models import Basis
    from workers.cli.parts import Parts

COLUMNS = ("when", "service", "recovery", "change")
DIFFERENT = 1
"""Exit code when something comes out differently, as `diff` has it."""
EXAMPLES = """
\b
Examples:
  recovery replay                                would everything of the last day be decided as it was?
  recovery replay --since 7d --config new.toml   what would have been different with new.toml
"""
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d:\d\d")


@click.command(short_help="Make recorded decisions again, by this or another file.", epilog=EXAMPLES)
@click.option("--since", type=Since(), default="24h", show_default=True, help="Decided since: 90s, 15m, 2h, 7d, or a date and time.")
@click.option("--service", help="About this service only.")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Decide by this file; default: by what is in force.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=20_000, show_default=True, help="Decisions at most, oldest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def replay(*, since: datetime, service: str | None, config: Path | None, limit: int, as_json: bool) -> None:
    """Make recorded decisions again, from the facts that were recorded with them, and show what comes out differently.

    Nothing is changed. Exit code 0 if all come out as recorded, 1 if not, 2 if FILE is not valid.
    """
    from workers.cli.parts import Parts
    from workers.cli.render import moment, print_json, print_lines, print_table

    parts = Parts()
    if service is not None:
        parts.require_service(service)
    fleet = _fleet(parts, config)
    recorded = parts.store.bases(since, limit)
    made = _again([basis for basis in recorded if service in {None, basis.service}], fleet)
    different = [each for each in made if not each.same]
    others = Counter(each.basis.config_version for each in made if each.basis.config_version != fleet.version)
    if as_json:
        print_json(_as_table(fleet, since, made, different, others))
    else:
        if different:
            rows = [[each.basis.at, each.basis.service, each.basis.recovery_id[:8], _change(each)] for each in different]
            print_table(COLUMNS, rows, empty="")
            click.echo()
        by = f"{config or parts.settings.config} (version {fleet.version})"
        told = [summary(len(made), len(different), by, moment(since)), _told_versions(others)]
        print_lines(filter(None, told), hang=2)
    if len(recorded) == limit:
        click.echo(f"Only the first {limit} decisions since then were looked at: say a later --since, or a higher --limit.", err=True)
    if different:
        raise click.exceptions.Exit(DIFFERENT)


def summary(made: int, different: int, by: str, since: str) -> str:
    """Return the outcome in one line."""
    if not made:
        return f"No decision was recorded since {since}."
    counted = "1 decision" if made == 1 else f"{made} decisions"
    what = f"{different} would be different" if different else "all as recorded"
    return f"{counted} since {since}, made again by {by}: {what}."


def _fleet(parts: "Parts", config: Path | None) -> "Fleet":
    from recovery.config.load import load
    from recovery.errors import ConfigurationError
    from workers.cli.direct import fleet_of
    from workers.cli.edge import USAGE, Refusal
    from workers.cli.parts import kinds

    if config is None:
        return fleet_of(parts)
    if not config.exists():
        where = f"there is no file {config.absolute()}"
        raise Refusal(f"--config: {where}; name the one to decide by, or leave --config out to decide by what is in force", USAGE)
    try:
        return load(config, kinds()).fleet
    except ConfigurationError as error:
        raise Refusal(error.message, USAGE) from error


def _again(bases: "list[Basis]", fleet: "Fleet") -> "list[Replayed]":
    from pydantic import ValidationError

    from recovery.decide.replay import replay as again
    from strategies import STRATEGIES
    from workers.cli.edge import ERROR, Refusal

    try:
        return again(bases, fleet, STRATEGIES)
    except ValidationError as error:
        raise Refusal(
            "another version of celery-recovery recorded some of these decisions in a shape that this one cannot read", ERROR
        ) from error


def _change(each: "Replayed") -> str:
    return _TIME.sub(_local, f"{each.was} -> {each.now}")


def _local(found: re.Match[str]) -> str:
    from workers.cli.render import moment

    return moment(datetime.fromisoformat(found.group()))


def _told_versions(others: "Counter[str]") -> str:
    if not others:
        return ""
    named = ", ".join(f"{number} under {version or 'none'}" for version, number in others.most_common())
    return f"{others.total()} of them were made under another version of the configuration: {named}."


def _as_table(
    fleet: "Fleet", since: datetime, made: "list[Replayed]", different: "list[Replayed]", others: "Counter[str]"
) -> dict[str, Any]:
    return {
        "config_version": fleet.version,
        "since": since,
        "decisions": len(made),
        "different": [
            {
                "at": each.basis.at,
                "service": each.basis.service,
                "recovery_id": each.basis.recovery_id,
                "config_version": each.basis.config_version,
                "was": each.was,
                "now": each.now,
            }
            for each in different
        ],
        "other_versions": dict(others),
    }
