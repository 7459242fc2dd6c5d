"""What it costs to remember a whole recovery.

First only its rows, one recovery, three attempts and five steps, each in a transaction of its own, beside the bare driver that
writes the same rows in as many transactions, and knows neither fences nor versions. Then all that the engine does for one (report,
plan, guards, attempt, two steps, verification, end) without any real work, on SQLite and in memory.
"""

import logging
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

import structlog
from sqlalchemy import Table, insert

from benchmarks.bare import COMMIT, WARM, Sent, side_by_side, sqlite_triplets
from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.models import Action, Attempt, AttemptState, Lease, RecoveryState, Step, StepState
from recovery.ports import Store
from recovery.store.engine import dispose
from recovery.store.memory import MemoryStore
from recovery.store.migrate import migrate
from recovery.store.prepared import prepare
from recovery.store.schema import attempts, recoveries, steps
from recovery.store.sql import SqlStore
from recovery.store.sql.room import Data, values_of
from tests.world import World

NAME = "store"
RECOVERIES = 100
TIMES_BARE = 2.5
"""The target for the rows of a recovery: at most so many times what the bare driver takes."""


def measure() -> list[Result]:
    """Return milliseconds per recovery on SQLite and in memory."""
    progress(f"{NAME}: {RECOVERIES} recoveries on SQLite")
    # the log is not what is measured: neither its lines nor the making of its loggers
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR), cache_logger_on_first_use=True)
    with tempfile.TemporaryDirectory(prefix="rcv-") as folder:
        rows = _rows(Path(folder))
        url = f"sqlite:///{Path(folder) / 'history.db'}"
        migrate(url)
        store = SqlStore.open(url)
        on_disk = _recoveries(store)
        dispose(store.engine)
    return [
        *rows,
        summed(NAME, "one recovery, all written down in SQLite", on_disk, "ms"),
        summed(NAME, "one recovery, in memory", _recoveries(MemoryStore()), "ms"),
    ]


def _rows(folder: Path) -> list[Result]:
    """Write the rows of recoveries through the store, and the same ones by the bare driver."""
    with sqlite_triplets(folder, lambda _store: None) as triplets:
        store = triplets.store
        stories = [_Story(f"service-{number}") for number in range(RECOVERIES + WARM)]
        calls = [partial(story.write, store, story.claimed(store)) for story in stories]
        ours, bare = side_by_side(calls, [story.as_sql(store) for story in stories], triplets.driver)
    note = f"{median(ours) / median(bare):.2f} times the bare driver"
    return [
        summed(NAME, "rows of one recovery: 1 + 3 attempts + 5 steps", ours, "µs", TIMES_BARE * median(bare), note),
        summed(NAME, "   the same rows by the bare driver", bare, "µs"),
    ]


class _Story:
    """The rows of one recovery that needed three attempts."""

    def __init__(self, service: str) -> None:
        world = World("restart")
        self.service, self.at = service, world.now
        self.recovery = replace(world.recovery(world.report()), service=service)
        made = {"service": service, "strategy": "restart", "queue": "restart", "action": Action.APPLY}
        self.attempts = [
            Attempt(self.recovery.id, number, state=AttemptState.QUEUED, created_at=self.at, **made)  # type: ignore[arg-type]
            for number in (1, 2, 3)
        ]
        self.moves = [replace(self.recovery, state=RecoveryState.IN_PROGRESS, attempt=number, due_at=self.at) for number in (1, 2, 3)]
        self.steps = [
            Step(self.recovery.id, number, place, f"step-{place}", StepState.FINISHED, 1, self.at, self.at, {"pid": 1}, {"pid": 2})
            for number, place in ((1, 0), (1, 1), (2, 0), (3, 0), (3, 1))
        ]

    def claimed(self, store: Store) -> Lease:
        """Return the lease under which its steps are written."""
        lease = store.acquire_lease(self.service, self.recovery.id, "worker", self.at, self.at + timedelta(minutes=1))
        assert lease is not None
        return lease

    def write(self, store: Store, lease: Lease) -> None:
        """Write it as the engine does, nine transactions."""
        current = store.open_recovery(self.recovery, None, (), ()).recovery
        for attempt, after in zip(self.attempts, self.moves, strict=True):
            stored = store.transition(current, after, attempt=attempt)
            assert stored is not None
            current = stored
            for step in self.steps:
                if step.attempt == attempt.number:
                    store.journal(lease, step)

    def as_sql(self, store: SqlStore) -> list[Sent]:
        """Return the nine rows as plain inserts, each in its own transaction."""
        rows: list[tuple[Table, Data]] = [(recoveries, self.recovery)]
        rows += [(attempts, row) for row in self.attempts]
        rows += [(steps, row) for row in self.steps]
        sent = []
        for table, item in rows:
            values = values_of(item)
            row = prepare(insert(table), tuple(values), store.engine.dialect)
            sent += [Sent("BEGIN IMMEDIATE"), Sent(row.text, row.bind(values)), Sent(COMMIT)]
        return sent


def _recoveries(store: Store) -> list[float]:
    """Run whole recoveries and return the milliseconds of each."""
    world = World("restart", platform={"cooldown": 0, "max_attempts": 1_000})
    world.use(store)
    times = []
    for _ in range(RECOVERIES):
        world.later(1_000)  # each one stands for itself
        began = time.perf_counter()
        world.run(world.report())
        times.append((time.perf_counter() - began) * 1000)
    return times


if __name__ == "__main__":
    run([], [measure])
