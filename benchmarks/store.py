"""What it costs to remember: one whole recovery (report, plan, guards, attempt, two steps, verification, end) without any real work.

Every transition is a transaction of its own; in memory it costs nothing but Python, so the difference is the database.
"""

import logging
import tempfile
import time
from pathlib import Path

import structlog

from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.ports import Store
from recovery.store.engine import dispose
from recovery.store.memory import MemoryStore
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.world import World

NAME = "store"
RECOVERIES = 100


def measure() -> list[Result]:
    """Return milliseconds per recovery on SQLite and in memory."""
    progress(f"{NAME}: {RECOVERIES} recoveries on SQLite")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # the log is not what is measured
    with tempfile.TemporaryDirectory(prefix="rcv-") as folder:
        url = f"sqlite:///{Path(folder) / 'history.db'}"
        migrate(url)
        store = SqlStore.open(url)
        on_disk = _recoveries(store)
        dispose(store.engine)
    return [
        summed(NAME, "one recovery, all written down in SQLite", on_disk, "ms"),
        summed(NAME, "one recovery, in memory", _recoveries(MemoryStore()), "ms"),
    ]


def _recoveries(store: Store) -> list[float]:
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
