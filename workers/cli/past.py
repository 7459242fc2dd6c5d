"""`history` and `stats`: what was done, and how well."""

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from recovery.models import Outcome, Recovery, RecoveryState, utcnow
from workers.cli.arguments import Since
from workers.cli.words import purpose

if TYPE_CHECKING:
    from recovery.history import Rate, Spread

HISTORY_COLUMNS = ("id", "opened", "service", "category", "result", "took", "kind", "attempts", "reports")
HISTORY_DROP = ("reports", "attempts", "kind", "took", "category")
"""What a narrow terminal does without, least important first."""
REFUSED_COLUMNS = ("at", "actor", "code", "service", "reason")


@click.command(short_help="List recoveries.")
@click.option("--service", help="Of this service only.")
@click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="With this outcome only.")
@click.option("--state", type=click.Choice([each.value for each in RecoveryState]), help="In this state only.")
@click.option("--since", type=Since(), help="Opened since: 90s, 15m, 2h, 7d, or a date and time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows, newest first.")
@click.option("--refused", is_flag=True, help="List the reports that were refused, and why, instead of recoveries.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history(
    *, service: str | None, outcome: str | None, state: str | None, since: datetime | None, limit: int, refused: bool, as_json: bool
) -> None:
    """List recoveries, newest first; or the reports that were refused."""
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_table

    if refused and (service or outcome or state):
        raise click.UsageError("--refused lists reports that became no recovery: it goes with --since and --limit only")
    parts = Parts()
    if refused:
        reports = parts.history.refused_reports(since=since, limit=limit)
        if as_json:
            print_json(reports)
            return
        rows = [[each.at, each.actor, each.code, each.service, each.reason] for each in reports]
        print_table(REFUSED_COLUMNS, rows, empty="No report was refused.", drop=("service", "actor"))
        return
    if service is not None:
        parts.require_service(service)
    found = parts.history.recoveries(
        service=service,
        outcome=Outcome(outcome) if outcome else None,
        state=RecoveryState(state) if state else None,
        since=since,
        limit=limit,
    )
    if as_json:
        print_json([{**_plain(recovery), "recovery_seconds": recovery.recovery_seconds} for recovery in found])
        return
    print_table(HISTORY_COLUMNS, [history_row(recovery) for recovery in found], empty="No recovery fits.", drop=HISTORY_DROP)


def history_row(recovery: Recovery) -> list[object]:
    """Return the cells for one recovery, under `HISTORY_COLUMNS`."""
    return [
        recovery.id[:8],
        recovery.created_at,
        recovery.service,
        purpose(recovery),
        recovery.outcome if recovery.state is RecoveryState.SUCCEEDED else recovery.state,
        recovery.recovery_seconds,
        recovery.kind,
        recovery.attempt,
        recovery.failures,
    ]


@click.command(short_help="Show recovery times and success rates.")
@click.option("--since", type=Since(), default="30d", show_default=True, help="Closed since: 90s, 15m, 2h, 7d, or a date and time.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(*, since: datetime, as_json: bool) -> None:
    """Show recovery times and success rates, with what they are counted over."""
    from workers.cli.parts import Parts
    from workers.cli.render import counted, moment, print_json, print_lines, print_table, text_of

    found = Parts().history.stats(since, utcnow())
    if as_json:
        print_json(found)
        return
    outcomes = ", ".join(f"{number} {word}" for word, number in found.outcomes.items()) or "none"
    print_lines([f"Recoveries closed since {moment(found.since)}: {outcomes}; open now: {found.open_now}."], hang=12)
    click.echo(f"Success     {rate(found.success)} of those that acted (resolved or mitigated, verified)")
    click.echo(f"Gave up     {found.gave_up.hits} of {found.gave_up.of} closed: failed before anything was done (`recovery why`)")
    click.echo(f"Detected    {spread(found.detection)} after the first evidence")
    click.echo(f"Recovered   {spread(found.recovery)} after the first evidence (MTTR)")
    click.echo(f"Apart       {found.suppressed} suppressed, {counted(found.restores, 'restore')}, {counted(found.dry_runs, 'dry run')}\n")
    services = [
        [each.service, each.closed, rate(each.success), spread(each.recovery), rate(each.availability) if each.availability else "-"]
        for each in found.services
    ]
    columns = ("service", "closed", "success", "recovered after", "checks passed")
    print_table(columns, services, empty="No service was seen.", drop=("closed", "checks passed"))
    click.echo()
    strategies = [[each.strategy, rate(each.success), spread(each.took), spread(each.recovery)] for each in found.strategies]
    print_table(("strategy", "success", "took", "recovered after"), strategies, empty="No strategy was run.", drop=("took",))
    if found.held:
        click.echo()
        print_table(("held back by", "choice", "times"), [[each.guard, text_of(each.choice), each.times] for each in found.held], empty="")


def rate(found: "Rate") -> str:
    """Return a rate with its denominator, such as `97.5 % (39 of 40)`."""
    return "- (0)" if found.share is None else f"{found.share * 100:.4g} % ({found.hits} of {found.of})"


def spread(found: "Spread | None") -> str:
    """Return the median and the 95th percentile of durations with their count."""
    from workers.cli.render import duration

    return "-" if found is None else f"p50 {duration(found.p50)}, p95 {duration(found.p95)} (of {found.count})"


def _plain(recovery: Recovery) -> dict[str, Any]:
    from workers.cli.render import plain

    table: dict[str, Any] = plain(recovery)
    return table
