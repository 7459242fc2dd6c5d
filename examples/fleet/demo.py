"""Break the example fleet in six ways and watch celery-recovery mend it: `make demo`. With `--stay`: leave it to you, `make up`.

Exits 0 only if every failure came out as it should.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from faults import Fault, all_faults, mend_search
from fleet import Fleet, await_true
from rich.box import SIMPLE_HEAD
from rich.table import Table
from story import Story, console, described

from recovery.models import Outcome, utcnow
from recovery.settings import Settings
from recovery.store.engine import open_engine
from recovery.store.sql import SqlStore

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".demo"
SERVICES = 6
PATIENCE = 60.0
"""Seconds that one recovery may take before the demo calls it lost."""
READY = "Everything is up."
"""What `recovery up` says when everything runs."""


@dataclass(frozen=True)
class Row:
    """One line of the table at the end."""

    title: str
    strategies: str
    outcome: str
    detected: float
    recovered: float
    ok: bool
    remark: str


class Platform:
    """`recovery up` in the fleet's folder, as a person would start it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.log = fleet.folder / "platform.log"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("RECOVERY_")} | fleet.environ
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [str(Path(sys.executable).with_name("recovery")), "up"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.fleet.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(timeout=60)

    def running(self) -> bool:
        """Say whether the platform still runs."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Wait a moment for more of its log, or for its end."""
        assert self._process
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.1)

    def wait_ready(self, within: float) -> None:
        """Wait until the platform says that it is up; raises `SystemExit` with the end of its log if it gives up."""
        assert self._process
        process = self._process

        def ready() -> bool:
            if process.poll() is not None:
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                raise SystemExit(f"the platform ended with code {process.returncode}:\n{tail}")
            return READY in self.log.read_text(errors="replace")

        await_true(ready, within, f"the platform's start (see {self.log})")


def run_fault(number: int, fault: Fault, fleet: Fleet, story: Story) -> list[Row]:
    """Break, watch, prove; return the lines for the table."""
    console.print(f"\n[bold]{number}. {fault.title}[/bold]")
    broke_at = utcnow()
    fault.break_it(fleet)
    if fault.mend:
        await_true(lambda: story.newest(fault.service, broke_at) is not None, PATIENCE, "the report of the open breaker")
        fault.mend(fleet)
    rows = [finish(fault.title, fault, fleet, story, broke_at, fault.prove, fault.expect)]
    if fault.restored:
        console.print("   search is mended by its vendor")
        mended_at = utcnow()
        mend_search(fleet)
        rows.append(finish("search is back", fault, fleet, story, mended_at, fault.restored, (fault.expect[0], "resolved")))
    return rows


def finish(
    title: str, fault: Fault, fleet: Fleet, story: Story, since: datetime, prove: Callable[[Fleet], str], expect: tuple[str, str]
) -> Row:
    """Wait for the recovery and hold it against what was expected."""
    try:
        recovery = story.follow(fault.service, since, PATIENCE)
        attempts = story.attempts(recovery)
        remark = prove(fleet)
        ok = recovery.outcome == Outcome(expect[1]) and bool(attempts) and attempts[-1].strategy == expect[0]
    except (TimeoutError, AssertionError) as error:
        console.print(f"   [red]{error}[/red]")
        return Row(title, "-", "not recovered", 0.0, 0.0, ok=False, remark=str(error))
    console.print(f"   [{'green' if ok else 'red'}]{remark}[/]")
    tried = ", ".join(map(described, attempts))
    finished = recovery.finished_at or utcnow()
    detected, recovered = (recovery.created_at - since).total_seconds(), (finished - since).total_seconds()
    return Row(title, tried, str(recovery.outcome), detected, recovered, ok, remark)


def print_table(rows: list[Row]) -> None:
    """Show what happened at a glance."""
    table = Table(title="\nWhat was broken, and what became of it", title_justify="left", box=SIMPLE_HEAD)
    for column in ("failure", "strategies tried", "outcome"):
        table.add_column(column, overflow="fold")
    for column in ("detected", "recovered"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        mark = "[green]ok[/green]" if row.ok else "[red]WRONG[/red]"
        table.add_row(row.title, row.strategies, row.outcome, f"{row.detected:.2f} s", f"{row.recovered:.2f} s", mark)
    console.print(table)


def look_further() -> None:
    """Say which commands tell more."""
    console.print("\nLook further (in another terminal while `make up` runs, or now):")
    recovery = Path(sys.executable).with_name("recovery")
    for command, why in (
        ("history", "every recovery"),
        ("show ID", "the whole story of one"),
        ("why shop", "every decision about the shop, with its numbers"),
        ("stats", "success rate, time to recover"),
    ):
        console.print(f"   (cd {shown(FOLDER)} && {shown(recovery)} {command:<8})   {why}", soft_wrap=True)


def shown(path: Path) -> str:
    """Return a path as short as it can be from here."""
    return os.path.relpath(path) if path == FOLDER else os.path.relpath(path, FOLDER)


def demonstrate(fleet: Fleet, platform: Platform) -> int:
    """Run the six faults; return the exit code."""
    console.print("Starting the platform and the example fleet ...")
    platform.wait_ready(60)
    store = SqlStore(open_engine(Settings(data_dir=fleet.folder / ".recovery").database))
    story = Story(store)
    story.wait_healthy(SERVICES, 60)
    console.print(f"All {SERVICES} services are healthy. Log: {shown(platform.log.parent)}/{platform.log.name}")
    rows: list[Row] = []
    for number, fault in enumerate(all_faults(), start=1):
        rows += run_fault(number, fault, fleet, story)
        story.wait_healthy(SERVICES, PATIENCE)
    print_table(rows)
    look_further()
    return 0 if all(row.ok for row in rows) else 1


def stay(fleet: Fleet, platform: Platform) -> int:
    """Leave the fleet to the reader until Ctrl-C."""
    console.print("Starting the platform and the example fleet ...")
    platform.wait_ready(60)
    console.print(f"Running. The shop is at {fleet.shop_url}, everything else in {shown(FOLDER)}. Break something:", soft_wrap=True)
    for text in (
        f"kill -9 $(cat {shown(FOLDER)}/run/shop.pid)",
        f"kill -STOP $(cat {shown(FOLDER)}/run/shop.pid)",
        f"kill -9 $(cat {shown(FOLDER)}/run/search.pid)",
        f"touch {shown(FOLDER)}/run/gateway.broken      (then call {fleet.shop_url}/checkout a few times; rm it to mend)",
        f"printf scribble | dd of={shown(FOLDER)}/data/orders.db bs=1 seek=4096 conv=notrunc",
    ):
        console.print(f"   {text}", soft_wrap=True)
    look_further()
    console.print("\nThe platform's log follows; Ctrl-C ends everything.\n")
    with platform.log.open() as log:
        while platform.running():
            line = log.readline()
            if line:
                sys.stdout.write(line)
            else:
                sys.stdout.flush()
                platform.pause()
    return 1


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """Set up, run, clean up."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stay", action="store_true", help="run until Ctrl-C and leave the breaking to you")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, interrupt)
    fleet = Fleet(FOLDER)
    try:
        fleet.prepare()
        fleet.start()
        with Platform(fleet) as platform:
            return stay(fleet, platform) if arguments.stay else demonstrate(fleet, platform)
    except KeyboardInterrupt:
        console.print("\nStopped.")
        return 0 if arguments.stay else 130
    except TimeoutError as error:
        console.print(f"[red]{error}[/red]")
        return 1
    finally:
        fleet.stop()


if __name__ == "__main__":
    sys.exit(main())
