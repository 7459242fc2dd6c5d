"""`history` and `stats`: what was done, and how well."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from recovery.models import Outcome, Recovery, RecoveryState, utcnow
from workers.cli.words import purpose

if TYPE_CHECKING:
    from recovery.history import Rate, Spread

HISTORY_COLUMNS = ("id", "opened", "service", "category", "result", "took", "kind", "attempts", "reports")
HISTORY_DROP = ("reports", "attempts", "kind", "took", "category")
"""What a narrow terminal does without, least important first."""

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Since(click.ParamType[datetime]):
    """How far back: `90s`, `15m`, `2h`, `7d`, or a date and time such as `2026-01-31T08:00`."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment; a date without a zone is local."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            if text[-1:] in UNITS:
                return utcnow() - timedelta(seconds=float(text[:-1]) * UNITS[text[-1]])
            return datetime.fromisoformat(text).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"'{text}' is not a time: write 90s, 15m, 2h, 7d, or 2026-01-31T08:00", param, ctx)


@click.command(short_help="List recoveries.")
@click.option("--service", help="Of this service only.")
@click.option("--outcome", type=click.Choice([each.value for each in Outcome]), help="With this outcome only.")
@click.option("--state", type=click.Choice([each.value for each in RecoveryState]), help="In this state only.")
@click.option("--since", type=Since(), help="Opened since: 90s, 15m, 2h, 7d, or a date and time.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def history(*, service: str | None, outcome: str | None, state: str | None, since: datetime | None, limit: int, as_json: bool) -> None:
    """List recoveries, newest first."""
    from workers.cli.parts import Parts
    from workers.cli.render import print_json, print_table

    parts = Parts()
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
    from workers.cli.render import moment, print_json, print_lines, print_table, text_of

    found = Parts().history.stats(since, utcnow())
    if as_json:
        print_json(found)
        return
    outcomes = ", ".join(f"{number} {word}" for word, number in found.outcomes.items()) or "none"
    print_lines([f"Recoveries closed since {moment(found.since)}: {outcomes}; open now: {found.open_now}."], hang=12)
    click.echo(f"Success     {rate(found.success)} of those that acted (resolved or mitigated, verified)")
    click.echo(f"Detected    {spread(found.detection)} after the first evidence")
    click.echo(f"Recovered   {spread(found.recovery)} after the first evidence (MTTR)")
    click.echo(f"Apart       {found.suppressed} suppressed, {found.restores} restores, {found.dry_runs} dry runs\n")
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
