"""How answers look: aligned tables, JSON with stable field names, times and durations for people."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import click
from pydantic import BaseModel

COLOURS = {
    **dict.fromkeys(("healthy", "resolved", "succeeded", "ok", "act", "finished"), "green"),
    **dict.fromkeys(("degraded", "mitigated", "suppressed", "cancelled", "delay", "skip", "suppress", "warning"), "yellow"),
    **dict.fromkeys(("unhealthy", "failed", "ineffective", "escalate", "wrong"), "red"),
    **dict.fromkeys(("pending", "in_progress", "running", "started", "queued", "merge"), "cyan"),
}
"""Words that bear a colour on a terminal."""


def print_json(value: object) -> None:
    """Print `value` as JSON: enums as their words, times in UTC by ISO 8601."""
    click.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def plain(value: object) -> Any:
    """Return `value` as what JSON knows."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        share = {"share": value.share} if hasattr(value, "share") else {}
        return plain({field.name: getattr(value, field.name) for field in fields(value)} | share)
    if isinstance(value, dict):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print rows under their column heads; `empty` if there are none.

    On a terminal it fits the width and bears colours; in a pipe every row is one uncut line.
    """
    cells = [[text_of(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
    elif sys.stdout.isatty():
        _rich_table(columns, cells)
    else:
        lines = [list(columns), *cells]
        widths = [max(len(line[position]) for line in lines) for position in range(len(columns))]
        for line in lines:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> Any:
    """Return a table for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    built = Table(box=SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        built.add_column(column, no_wrap=position == 0, overflow="fold")
    for row in cells:
        built.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    return built


def _rich_table(columns: Sequence[str], cells: Iterable[Sequence[str]]) -> None:
    from rich.console import Console

    Console().print(table(columns, cells))


def text_of(value: object) -> str:
    """Return one cell: nothing as `-`, lists with commas, never more than one line."""
    if value is None or value == "":
        return "-"
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, float):
        return duration(value)
    if isinstance(value, list | tuple):
        return ", ".join(text_of(item) for item in value) or "-"
    return " ".join(str(value).split())


def moment(at: datetime, now: datetime | None = None) -> str:
    """Return a time in the local zone, with its date unless it is today's."""
    local, today = at.astimezone(), (now or datetime.now(UTC)).astimezone()
    return local.strftime("%H:%M:%S" if local.date() == today.date() else "%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """Return seconds as one reads them: `0.34 s`, `12.5 s`, `3 m 20 s`, `2 h 5 m`, `4 d 1 h`."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, below, smaller in (("d", 86_400, "h", 3_600), ("h", 3_600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def ago(at: datetime | None, now: datetime) -> str:
    """Return how long ago something was."""
    return "never" if at is None else f"{duration(max(0.0, (now - at).total_seconds()))} ago"
