"""How answers look: aligned tables, JSON with stable field names, times and durations for people."""

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import click
from pydantic import BaseModel

COLOURS = {
    **dict.fromkeys(("healthy", "resolved", "succeeded", "ok", "act", "finished", "closed"), "green"),
    **dict.fromkeys(
        ("degraded", "mitigated", "suppressed", "cancelled", "delay", "skip", "suppress", "warning", "awaiting_approval", "half-open"),
        "yellow",
    ),
    **dict.fromkeys(("unhealthy", "failed", "ineffective", "escalate", "wrong", "open", "forced-open"), "red"),
    **dict.fromkeys(("pending", "in_progress", "running", "started", "queued", "merge"), "cyan"),
}
"""Words that bear a colour on a terminal."""
PROSE = {"message", "reason", "description", "detail", "change"}
"""Last columns that may wrap; every other cell is one word, id, time, number or name, and stays whole."""
NARROWEST_PROSE = 24
"""Characters that a wrapping column keeps before other columns are dropped for it."""
LONGEST_CELL = 240
"""Characters of a text that a table shows; `show` and `--json` have it whole."""
GAP = 2
"""Characters between two columns on a terminal."""


def print_json(value: object) -> None:
    """Print `value` as JSON: enums as their words, times in UTC by ISO 8601."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False)
    click.echo("\n".join(_without_controls(line, _as_json_escape) for line in text.split("\n")))


def json_line(value: object) -> str:
    """Return `value` as JSON in one line, for a stream of them."""
    return _without_controls(json.dumps(plain(value), ensure_ascii=False), _as_json_escape)


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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, drop: Sequence[str] = ()) -> None:
    """Print rows under their column heads; `empty` if there are none.

    On a terminal it fits the width and bears colours; in a pipe every row is one uncut line.

    Args:
        columns: the heads.
        rows: one value per column.
        empty: printed instead of a table without rows.
        drop: the columns that a narrow terminal does without, least important first.
    """
    cells = [[text_of(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
    elif sys.stdout.isatty():
        _rich_table(columns, cells, drop)
    else:
        lines = [list(columns), *cells]
        widths = [max(len(line[position]) for line in lines) for position in range(len(columns))]
        for line in lines:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def table(columns: Sequence[str], cells: Sequence[Sequence[str]], *, width: int, drop: Sequence[str] = ()) -> Any:
    """Return a table for a terminal of `width` characters, in which only prose wraps, and at words."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    kept = _kept(columns, cells, drop, width)
    built = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for position in kept:
        prose = _is_prose(columns, position)
        built.add_column(columns[position], no_wrap=not prose, overflow="fold")
    for row in cells:
        built.add_row(*(Text(row[position], style=COLOURS.get(row[position], "")) for position in kept))
    return built


def _kept(columns: Sequence[str], cells: Sequence[Sequence[str]], drop: Sequence[str], width: int) -> list[int]:
    """Return the positions of the columns that fit into `width`, after dropping as few as possible in the order of `drop`.

    Prose goes last of all, when the rest leaves it no room.
    """
    from rich.cells import cell_len

    needed = {place: max(map(cell_len, (column, *(row[place] for row in cells)))) for place, column in enumerate(columns)}
    last = len(columns) - 1
    if _is_prose(columns, last):
        needed[last] = min(needed[last], NARROWEST_PROSE)
    for name in drop:
        if sum(needed.values()) + GAP * len(needed) <= width:
            break
        needed.pop(columns.index(name))
    if last in needed and _is_prose(columns, last) and sum(needed.values()) + GAP * len(needed) > width:
        needed.pop(last)
    return list(needed)


def _is_prose(columns: Sequence[str], position: int) -> bool:
    return position == len(columns) - 1 and columns[position] in PROSE


def _rich_table(columns: Sequence[str], cells: Sequence[Sequence[str]], drop: Sequence[str]) -> None:
    from rich.console import Console

    console, last = Console(), len(columns) - 1
    kept = _kept(columns, cells, drop, console.width)
    if last in kept or columns[last] in drop or not _is_prose(columns, last):
        console.print(table(columns, cells, width=console.width, drop=drop))
        return
    widths = {place: max(len(line[place]) for line in (columns, *cells)) for place in kept}
    aligned = ["  ".join(line[place].ljust(width) for place, width in widths.items()).rstrip() for line in (columns, *cells)]
    for row, prose in zip(aligned, ["", *(each[-1] for each in cells)], strict=True):
        print_lines([row, *([f"    {prose}"] if prose not in {"", "-"} else [])], hang=4)


def print_lines(lines: Iterable[str], hang: int) -> None:
    """Print lines; on a terminal what is too long wraps at words and goes on `hang` characters from the left."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in map(printable, lines):
        if width is None or len(line) <= width:
            click.echo(line)
        else:
            click.echo(textwrap.fill(line, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False))


def counted(number: int, noun: str) -> str:
    """Return `1 service`, `2 services`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}s"


def text_of(value: object) -> str:
    """Return one cell: nothing as `-`, lists with commas, never more than one line that is `printable`, nor more than `LONGEST_CELL`."""
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
    said = printable(" ".join(str(value).split()))
    return said if len(said) <= LONGEST_CELL else f"{said[: LONGEST_CELL - 4].rstrip()} ..."


def printable(text: str) -> str:
    r"""Return text of others with what would steer a terminal, or turn the order of letters, spelt out: ESC as `\x1b`; one line."""
    return text if text.isprintable() else _without_controls(text, lambda letter: " " if letter.isspace() else _spelt_out(letter))


def _spelt_out(letter: str) -> str:
    r"""Return a letter as Python writes it: ESC as `\x1b`."""
    return letter.encode("unicode_escape").decode()


def _without_controls(text: str, spelt: Callable[[str], str]) -> str:
    return "".join(letter if letter.isprintable() else spelt(letter) for letter in text)


def _as_json_escape(letter: str) -> str:
    return json.dumps(letter)[1:-1] if letter != "\x7f" else "\\u007f"


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
