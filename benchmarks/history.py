"""What the history answers, beside the bare driver, in a database of a million recoveries: one month of a large fleet.

One real recovery is written through the store and then copied a million times by SQL, with other ids, services and times.
"""

import sqlite3
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.bare import WARM, Sent, bare_sqlite, recorded, side_by_side, timed
from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.history import History
from recovery.models import Recovery
from recovery.ports import Execute
from recovery.store.engine import dispose, open_engine
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.world import World

NAME = "history"
RECOVERIES, SERVICES = 1_000_000, 200
MONTH = timedelta(days=30)
ROUNDS = 200
TIMES_BARE, MILLISECONDS = 2.0, 20.0
"""The targets: of the last 50 recoveries of a service, and of the mean times to recovery of all services over a day."""
NOW = datetime(2026, 2, 1, tzinfo=UTC)

COPY = """
WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series LIMIT {many}),
     moments AS (SELECT n, unixepoch('{now}') - {seconds} * n / {many} AS ended FROM series)
INSERT INTO recoveries ({columns})
SELECT {values} FROM moments, (SELECT * FROM recoveries LIMIT 1) AS pattern
"""
DIFFERENT = {
    "id": "printf('%036d', n)",
    "service": "'service-' || (n % {services})",
    "created_at": "datetime(ended - 4, 'unixepoch') || '.000000'",
    "first_evidence_at": "datetime(ended - 5, 'unixepoch') || '.000000'",
    "started_at": "datetime(ended - 4, 'unixepoch') || '.000000'",
    "finished_at": "datetime(ended, 'unixepoch') || '.000000'",
    "recovery_seconds": "5.0 + n % 7",
}
"""What sets the copies apart, as SQL."""


def measure() -> list[Result]:
    """Return how long the history takes to answer."""
    progress(f"{NAME}: writing {RECOVERIES:,} recoveries")
    with tempfile.TemporaryDirectory(prefix="rcv-") as folder:
        path = Path(folder) / "history.db"
        seconds = _fill(path)
        store = SqlStore.open(f"sqlite:///{path}")
        try:
            return [*_last_fifty(store, path), *_mean_times(History(store.engine), seconds)]
        finally:
            dispose(store.engine)


def _last_fifty(store: SqlStore, path: Path) -> list[Result]:
    names = [f"service-{number % SERVICES}" for number in range(ROUNDS + WARM)]
    calls = [partial(_ask_fifty, History(store.engine), name) for name in names]
    driver = bare_sqlite(path)
    ours, bare = side_by_side(calls, _as_sql(path, names), driver)
    driver.close()
    floor = median(bare)
    note = f"{median(ours) / floor:.2f} times the bare driver"
    return [
        summed(NAME, "last 50 recoveries of a service", ours, "µs", TIMES_BARE * floor, note),
        summed(NAME, "   its SQL by the bare driver", bare, "µs"),
    ]


def _as_sql(path: Path, names: Sequence[str]) -> list[list[Sent]]:
    """Return what the history sends for each service, written down through an engine of its own."""
    engine = open_engine(f"sqlite:///{path}")
    tapes = []
    with recorded(engine) as sent:
        for name in names:
            _ask_fifty(History(engine), name)
            tapes.append(list(sent))
            sent.clear()
    dispose(engine)
    return tapes


def _ask_fifty(history: History, service: str) -> None:
    assert len(history.recoveries(service=service, limit=50)) == 50


def _mean_times(history: History, seconds: float) -> list[Result]:
    day = partial(history.mean_times, NOW - timedelta(days=1), NOW)
    counted = sum(row.count for row in day())
    assert len(day()) == SERVICES
    times = [timed(day) / 1000 for _ in range(ROUNDS // 10)]
    note = f"{counted:,} recoveries of {SERVICES} services, among {RECOVERIES:,} (written in {seconds:.0f} s)"
    return [summed(NAME, "mean time to recovery of each service over 24 h", times, "ms", MILLISECONDS, note)]


def _fill(path: Path) -> float:
    """Write the month; return the seconds it took."""
    migrate(f"sqlite:///{path}")
    store = SqlStore.open(f"sqlite:///{path}")
    world = World("restart")
    world.use(store)
    pattern = world.report(service="web")
    assert not isinstance(world.run(pattern), Execute)
    assert not world.recovery(pattern).state.is_open
    dispose(store.engine)
    return timed(partial(_copy, path)) / 1e6


def _copy(path: Path) -> None:
    driver: sqlite3.Connection = bare_sqlite(path)
    driver.execute("PRAGMA synchronous = OFF")
    columns = [row[1] for row in driver.execute("PRAGMA table_info(recoveries)")]
    assert {field.name for field in fields(Recovery)} <= set(columns)
    values = ", ".join(DIFFERENT.get(name, f"pattern.{name}").format(services=SERVICES) for name in columns)
    seconds = int(MONTH.total_seconds())
    text = COPY.format(
        many=RECOVERIES,
        now=NOW.strftime("%Y-%m-%d %H:%M:%S"),
        seconds=seconds,
        columns=", ".join(columns),
        values=values,
    )
    driver.execute(text)
    driver.execute("ANALYZE")
    driver.close()


if __name__ == "__main__":
    run([], [measure])
