"""What a benchmark returns, and the table that shows it."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table

WIDTH = 150
"""Columns of the table where no terminal says how many there are."""


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    benchmark: str
    case: str
    value: float | None
    """None: it could not be measured here; the note says why."""
    unit: str
    target: float | None = None
    """At most so much; None: only for comparison."""
    note: str = ""

    @property
    def verdict(self) -> str:
        """Say whether the target was met, empty without one."""
        if self.target is None or self.value is None:
            return ""
        return "[green]met[/green]" if self.value <= self.target else "[red]missed[/red]"


def summed(benchmark: str, case: str, values: Sequence[float], unit: str, target: float | None = None, note: str = "") -> Result:
    """Return the median of `values`, with their number and range in the note."""
    spread = f"n={len(values)}, {shown(min(values))} to {shown(max(values))}"
    return Result(benchmark, case, median(values), unit, target, f"{spread}; {note}" if note else spread)


def unmeasured(benchmark: str, case: str, reason: str) -> Result:
    """Return a line that says why something could not be measured."""
    return Result(benchmark, case, None, "", note=f"not measured here: {reason}")


def shown(value: float) -> str:
    """Return a number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def print_table(results: Sequence[Result], seconds: float) -> None:
    """Print every result, with the machine it was measured on."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    table = Table(title=f"\n{machine}; load {load}; {seconds:.0f} s in all", title_justify="left", title_style="")
    table.add_column("benchmark")
    table.add_column("case")
    table.add_column("measured", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    table.add_column("", style="dim")
    last = ""
    for result in results:
        if last and result.benchmark != last:
            table.add_section()
        name = result.benchmark if result.benchmark != last else ""
        last = result.benchmark
        target = f"≤ {shown(result.target)} {result.unit}" if result.target is not None else ""
        measured = f"{shown(result.value)} {result.unit}" if result.value is not None else "-"
        table.add_row(name, result.case, measured, target, result.verdict, result.note)
    console.print(table)


def progress(text: str) -> None:
    """Say what is being measured now."""
    Console(stderr=True).print(f"[dim]{text}[/dim]")
