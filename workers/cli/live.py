"""`watch`: the fleet, live, until Ctrl-C."""

import time
from typing import TYPE_CHECKING, Any

import click

from recovery.errors import StoreUnavailable
from recovery.models import utcnow

if TYPE_CHECKING:
    from workers.cli.parts import Parts

NEWEST = 8
"""Recoveries shown below the services."""


@click.command(short_help="Watch services and recoveries live.")
@click.option("--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, help="Seconds between two looks.")
def watch(*, interval: float) -> None:
    """Show services and recoveries live until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    from workers.cli.parts import Parts

    parts = Parts()
    console = Console()
    try:
        with Live(_view(parts), console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_view(parts), refresh=True)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(0) from None


def _view(parts: "Parts") -> Any:
    """Return one screen; a database that is away for a moment is told on it instead of ending the watch."""
    from rich.console import Group
    from rich.text import Text

    from workers.cli.past import HISTORY_COLUMNS, history_row
    from workers.cli.render import table, text_of
    from workers.cli.state import STATUS_COLUMNS, headline, service_rows, snapshot

    try:
        found = snapshot(parts, utcnow())
        newest = parts.history.recoveries(limit=NEWEST)
    except StoreUnavailable as error:
        return Text(error.message, style="red")
    services = [[text_of(cell) for cell in row] for row in service_rows(found)]
    recoveries = [[text_of(cell) for cell in history_row(recovery)] for recovery in newest]
    title = Text(headline(found), style="red" if found["stale"] else "bold")
    return Group(title, table(STATUS_COLUMNS, services), Text("Newest recoveries", style="bold"), table(HISTORY_COLUMNS, recoveries))
