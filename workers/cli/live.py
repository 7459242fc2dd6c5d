"""`watch`: the fleet, live, until Ctrl-C."""

import contextlib
import re
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from recovery.errors import StoreUnavailable
from recovery.models import utcnow
from workers.cli.arguments import Seconds

if TYPE_CHECKING:
    from recovery.history import NotedEvent
    from workers.cli.parts import Parts

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d")
"""How a time in the data of an event begins."""
NEWEST = 8
"""Recoveries shown below the services."""


@click.command(short_help="Watch services and recoveries live.")
@click.option("--interval", type=Seconds(0.2, 60), default=1.0, show_default=True, help="Seconds between two looks.")
@click.option("--json", "as_json", is_flag=True, help="Print each new event as one line of JSON, instead of a screen.")
def watch(*, interval: float, as_json: bool) -> None:
    """Show services and recoveries live until Ctrl-C; in a pipe, print each new event as one line."""
    from workers.cli.parts import Parts

    parts = Parts()
    with contextlib.suppress(KeyboardInterrupt):
        if sys.stdout.isatty() and not as_json:
            _screen(parts, interval)
        else:
            _stream(parts, interval, as_json=as_json)


def _screen(parts: "Parts", interval: float) -> None:
    from rich.live import Live

    with Live(_view(parts), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(interval)
            live.update(_view(parts), refresh=True)


def _stream(parts: "Parts", interval: float, *, as_json: bool) -> None:
    last = parts.history.last_event_id()
    while True:
        for noted in parts.history.events_after(last):
            last = noted.id
            click.echo(event_line(noted, as_json=as_json))
        sys.stdout.flush()
        time.sleep(interval)


def event_line(noted: "NotedEvent", *, as_json: bool) -> str:
    """Return one event as a line to read, or as JSON."""
    from workers.cli.render import json_line, moment, plain

    event = noted.event
    if as_json:
        return json_line({"id": noted.id, **plain(event)})
    data = " ".join(f"{key}={_said(value)}" for key, value in event.data.items() if (key, value) != ("category", "unknown"))
    return f"{moment(event.at)}  {event.name:<22} {event.service or '-':<16} {(event.recovery_id or '-')[:8]:<8}  {data}".rstrip()


def _said(value: object) -> str:
    """Return what an event tells as people read it: times local like all others, a table by its names."""
    from workers.cli.render import text_of

    if isinstance(value, dict):
        return ", ".join(f"{text_of(name)} {_said(each)}" for name, each in value.items()) or "-"
    if isinstance(value, str) and TIME.match(value):
        with contextlib.suppress(ValueError):
            return text_of(datetime.fromisoformat(value))
    return text_of(value)


def _view(parts: "Parts") -> Any:
    """Return one screen; a database that is away for a moment is told on it instead of ending the watch."""
    from rich.console import Console, Group
    from rich.text import Text

    from workers.cli.past import HISTORY_COLUMNS, HISTORY_DROP, history_row
    from workers.cli.render import table, text_of
    from workers.cli.standing import alarms
    from workers.cli.state import NOBODY_LOOKS, STATUS_COLUMNS, STATUS_DROP, degraded_lines, headline, service_rows, snapshot

    try:
        found = snapshot(parts, utcnow())
        newest = parts.history.recoveries(limit=NEWEST)
    except StoreUnavailable as error:
        return Text(error.message, style="red")
    services = [[text_of(cell) for cell in row] for row in service_rows(found)]
    recoveries = [[text_of(cell) for cell in history_row(recovery)] for recovery in newest]
    first = [NOBODY_LOOKS] if found["stale"] else []
    title = Text("\n".join([*first, headline(found), *alarms(found)]), style="red" if found["stale"] else "bold")
    newest_title = Text("Newest recoveries", style="bold")
    width = Console().width
    return Group(
        title,
        table(STATUS_COLUMNS, services, width=width, drop=STATUS_DROP),
        *map(Text, degraded_lines(found)),
        newest_title,
        table(HISTORY_COLUMNS, recoveries, width=width, drop=HISTORY_DROP),
    )
