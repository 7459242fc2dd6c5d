"""How fast recoveries are decided and services claimed, beside the bare driver that sends the very same SQL.

`advance` reads what the guards want to know, judges, and writes the first attempt with its decision, events and basis;
`acquire_lease` is one conditional upsert. The bare driver sends what the store sent, in the same transactions, into a copy of the
database, and fetches every row; it converts nothing and knows nothing. What the store sends was written down before, on a third copy.
"""

import gc
import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

import structlog

from benchmarks.bare import WARM, Call, Prepare, Triplets, postgres_server, postgres_triplets, sqlite_triplets
from benchmarks.results import Result, progress, summed, unmeasured
from benchmarks.run import run
from recovery.ports import Execute
from recovery.store.sql import SqlStore
from tests.world import World

NAME = "claims"
ROUNDS = 300
TIMES_BARE = 2.0
"""The target: at most so many times what the bare driver takes."""
SERVICES = [f"s{number}" for number in range(ROUNDS + WARM)]


def measure() -> list[Result]:
    """Return microseconds per call on both databases."""
    progress(f"{NAME}: {ROUNDS} recoveries decided, {ROUNDS} services claimed, on SQLite and PostgreSQL")
    # the log is not what is measured: neither its lines nor the making of its loggers
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR), cache_logger_on_first_use=True)
    with tempfile.TemporaryDirectory(prefix="rcv-") as folder:
        results = _measured(lambda fill: sqlite_triplets(Path(folder), fill))
    try:
        with postgres_server() as server:
            return results + _measured(lambda fill: postgres_triplets(server, fill))
    except LookupError as reason:
        return [*results, unmeasured(NAME, "advance, acquire_lease on PostgreSQL", str(reason))]


def _measured(triplets_with: Callable[[Prepare], AbstractContextManager[Triplets]]) -> list[Result]:
    world = _world()
    ids: list[str] = []

    def fill(store: SqlStore) -> None:
        world.use(store)
        for name in SERVICES:
            ids.append(world.report(service=name))
            world.later(0.001)  # no two of them at the same moment

    def advances(store: SqlStore) -> Iterator[Call]:
        world.use(store)
        for one in ids:
            yield partial(_advance, world, one)

    def claims(store: SqlStore) -> Iterator[Call]:
        until = world.now + timedelta(seconds=10)
        for name in SERVICES:
            yield partial(store.acquire_lease, name, "recovery", "worker", world.now, until)

    with triplets_with(fill) as triplets:
        gc.collect()
        gc.freeze()  # as a worker does before it forks: what was loaded once is not searched for garbage again and again
        return _beside(triplets, "advance", advances) + _beside(triplets, "acquire_lease", claims)


def _beside(triplets: Triplets, what: str, calls_on: Callable[[SqlStore], Iterator[Call]]) -> list[Result]:
    """Time each call and the same SQL through the bare driver."""
    ours, bare, messages = triplets.compare(calls_on)
    floor = median(bare)
    note = f"{median(ours) / floor:.2f} times the bare driver; {1e6 / median(ours):,.0f} a second"
    return [
        summed(NAME, f"{what} on {triplets.name}", ours, "µs", TIMES_BARE * floor, note),
        summed(NAME, f"   its SQL by the bare driver ({messages} messages)", bare, "µs"),
    ]


def _advance(world: World, recovery_id: str) -> None:
    directive = world.advance(recovery_id)
    assert isinstance(directive, Execute), directive


def _world() -> World:
    everything = {"percent": 100, "storm_percent": 100}
    world = World("restart", platform={"cooldown": 0, "max_attempts": 1_000, "budget": everything})
    world.declare(*SERVICES)
    return world


if __name__ == "__main__":
    run([], [measure])
