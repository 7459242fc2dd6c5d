"""Kill the process at every call of the store and at every side effect, one after the other: whoever comes next finishes what was begun.

A dead process makes no call any more, not even those in its `finally` blocks: it releases no lease and closes nothing.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, cast

import pytest
from sqlalchemy import event
from structlog.testing import capture_logs

from recovery.backoff import Linear
from recovery.engine import executor
from recovery.engine.executor import Executor
from recovery.engine.limits import Watch
from recovery.errors import DriverError
from recovery.models import Outcome, RecoveryState, Status
from recovery.ports import Execute, Retry, Store
from recovery.store.memory import MemoryStore
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.model.rows import empty
from tests.world import World

PATIENCE = 40
"""Rounds of 11 seconds in which survivors must have closed the recovery."""


class Killed(BaseException):
    """The process is gone."""


class Life:
    """The life of one process, which ends at its `last` moment (0: never); moments are counted from 1."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.moment = 0
        self.dead = False

    def go_on(self) -> None:
        """Live one moment more, or not."""
        self.moment += 1
        self.dead = self.dead or self.moment == self.last
        if self.dead:
            raise Killed


class Mortal:
    """A store as one process sees it: the process may die before each call. To die after one is to die before the next."""

    def __init__(self, store: Store, life: Life) -> None:
        self._store = store
        self._life = life

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._store, name)

        def asked(*args: object, **kwargs: object) -> object:
            self._life.go_on()
            return call(*args, **kwargs)

        return asked


class Fate:
    """A recovery that is carried out by mortal processes, on any store."""

    def __init__(self, store: Store, *strategies: str, **platform: object) -> None:
        self.store = store
        self.world = World(*strategies, platform={"lease": 10, "cooldown": 0, **platform}, max_attempts=9, verify_timeout=1e-6)
        for strategy in self.world.strategies.values():
            strategy.took_effect = lambda step, name=strategy.name: f"{name}.{step}" in self.world.ledger  # type: ignore[misc]
        self.world.worker = self._worker  # type: ignore[method-assign]
        self.life = Life(0)

    def _worker(self, node: str) -> Executor:
        """Return a worker whose waits take no time."""
        ticks, world = itertools.count(), self.world
        watch = Watch(now=lambda: next(ticks) / 100, pause=lambda _seconds: None)
        return Executor(world.at_work, world.registry, lambda: world.fleet, world._probe, world.clock, node, watch=watch)

    def live(self, work: Callable[[], object], last: int = 0) -> bool:
        """Do `work` in a process that dies at its moment `last`; say whether it did."""
        self.life = Life(last)
        self.world.use(cast(Store, Mortal(self.store, self.life)))
        try:
            work()
            self.life.go_on()
        except Killed:
            return True
        return False

    def answer_for_effects(self) -> None:
        """Let the process die right after each side effect, too."""
        for strategy in self.world.strategies.values():
            strategy.during = {name: self._after(strategy.during.get(name)) for name in _steps(strategy.step_names)}

    def _after(self, effect: Callable[[], None] | None) -> Callable[[], None]:
        def done() -> None:
            if effect:
                effect()
            self.life.go_on()

        return done

    def survive(self, *deaths: int) -> None:
        """Let the ticks of new processes go on until nothing is open; the first of these processes die at the given moments."""
        left = list(deaths)
        for _ in range(PATIENCE):
            self.world.later(11)
            self.live(self._tick, left.pop(0) if left else 0)
            if not left and not self.store.open_recoveries():
                return
        pytest.fail(f"still open: {self.store.open_recoveries()}")

    def _tick(self) -> None:
        """Do what the tick and the tasks that it sends do."""
        for directive in self.world.reaper.tick():
            if isinstance(directive, Execute):
                self.world.execute(directive)
                self.world.run(directive.recovery_id)


def _steps(names: tuple[str, ...]) -> list[str]:
    return [*names, *(f"{way}:{name}" for way in ("revert", "undo") for name in names)]


def resolve(store: Store, *deaths: int) -> int:
    """Restart a service; return how many moments the first process had."""
    fate = Fate(store, "restart")
    fate.answer_for_effects()
    return report_and_recover(fate, Outcome.RESOLVED, ["restart.one", "restart.two"], *deaths)


def mitigate(store: Store, *deaths: int) -> int:
    """Degrade a service after a restart that did not help."""
    fate = Fate(store, "restart", "degrade")
    world = fate.world
    world.healthy = False

    def help_them() -> None:
        world.healthy = True

    world.strategies["degrade"].during["two"] = help_them
    fate.answer_for_effects()
    moments = report_and_recover(fate, Outcome.MITIGATED, ["restart.one", "restart.two", "degrade.one", "degrade.two"], *deaths)
    assert [put.strategy for put in store.mitigations()] == ["degrade"]
    return moments


def take_away(store: Store, *deaths: int) -> int:
    """Degrade a service that it does not help: the degradation must not stay, whatever the checks say later."""
    fate = Fate(store, "degrade")
    world = fate.world
    world.healthy = False

    def get_well() -> None:
        world.healthy = True

    world.strategies["degrade"].during["undo:one"] = get_well
    fate.answer_for_effects()
    ledger = ["degrade.one", "degrade.two", "degrade.undo:two", "degrade.undo:one"]
    moments = report_and_recover(fate, Outcome.INEFFECTIVE, ledger, *deaths)
    assert store.mitigations() == []
    return moments


def roll_back(store: Store, *deaths: int) -> int:
    """Restart a service whose last step fails half-way: the others are undone, the last first."""
    fate = Fate(store, "restart")
    restart = fate.world.strategies["restart"]
    restart.step_names, restart.undoes, restart.before["three"] = ("one", "two", "three"), True, fail
    fate.answer_for_effects()
    ledger = ["restart.one", "restart.two", "restart.undo:two", "restart.undo:one"]
    return report_and_recover(fate, Outcome.FAILED, ledger, *deaths, said="no answer; rolled back: two, one")


def try_again(store: Store, *deaths: int) -> int:
    """Restart a service whose second step fails twice before it succeeds."""
    fate = Fate(store, "restart")
    restart = fate.world.strategies["restart"]
    failures = [fail, fail]
    restart.before["two"] = lambda: failures.pop()() if failures else None
    restart.retry = Retry(Linear(0, 0), attempts=3)
    fate.answer_for_effects()
    return report_and_recover(fate, Outcome.RESOLVED, ["restart.one", "restart.two"], *deaths)


def fail() -> None:
    raise DriverError("no answer")


def restore(store: Store, *deaths: int) -> int:
    """End a degradation."""
    fate = Fate(store, "degrade")
    report_and_recover(fate, Outcome.MITIGATED, ["degrade.one", "degrade.two"])
    world = fate.world
    world.ledger.clear()
    world.later(5)
    see_healthy(store, world)
    fate.answer_for_effects()

    def work() -> None:
        (accepted,) = world.desk.restore_all()
        world.run(accepted.recovery.id)

    died = fate.live(work, *deaths[:1])
    moments = fate.life.moment
    if died and not store.open_recoveries() and store.mitigations():
        fate.live(work)  # the next sweep
    fate.survive(*deaths[1:])
    assert world.ledger == ["degrade.revert:one", "degrade.revert:two"]
    assert store.mitigations() == []
    return moments


def see_healthy(store: Store, world: World) -> None:
    """Let a sweep have seen the service well for two seconds."""
    world.use(store)
    world.store = cast(MemoryStore, store)
    world.see("web", Status.HEALTHY, since=2)


def report_and_recover(fate: Fate, outcome: Outcome, ledger: list[str], *deaths: int, said: str = "") -> int:
    """Report a failure and carry the recovery out; whatever dies, it ends in `outcome` with each side effect done once."""
    world, store = fate.world, fate.store
    failure = world.failure(id="the-failure", occurred_at=world.now).model_dump(mode="json")

    def work() -> None:
        world.run(world.desk.report(failure).recovery.id)

    fate.live(work, *deaths[:1])
    moments = fate.life.moment
    world.use(store)
    accepted = world.desk.report(failure)  # whoever reports does so until it is taken in
    fate.survive(*deaths[1:])

    recovery = store.recovery(accepted.recovery.id)
    assert recovery
    expected = RecoveryState.FAILED if outcome in {Outcome.INEFFECTIVE, Outcome.FAILED} else RecoveryState.SUCCEEDED
    assert (recovery.state, recovery.outcome, recovery.due_at) == (expected, outcome, None), recovery.reason
    assert world.ledger == ledger
    assert said in store.attempts(recovery.id)[-1].reason
    assert len(store.attempts(recovery.id)) == len({entry.split(".")[0] for entry in ledger})
    assert not alive(store, world.now)
    return moments


def alive(store: Store, now: datetime) -> bool:
    """Say whether somebody still holds the service."""
    lease = store.lease_of("web")
    return lease is not None and lease.until > now


@pytest.fixture(autouse=True)
def quiet_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no renewal from another thread be one more moment on a slow machine, and render no log of thousands of lives."""
    monkeypatch.setattr(executor, "kept_alive", lambda *_: contextlib.nullcontext())
    with capture_logs():
        yield


STORIES = [resolve, mitigate, take_away, roll_back, try_again, restore]


@pytest.mark.parametrize("story", STORIES)
def test_whenever_the_process_dies_the_recovery_ends_as_if_it_had_not(story: Callable[..., int]) -> None:
    moments = story(MemoryStore())

    assert moments > 20, "the process is asked often enough to make this a test"
    for last in range(1, moments + 1):
        story(MemoryStore(), last)


def test_a_second_death_while_the_first_is_made_good_changes_nothing() -> None:
    moments = resolve(MemoryStore())

    for first in range(1, moments + 1):
        for second in range(1, moments + 1):
            resolve(MemoryStore(), first, second)


def test_a_second_death_in_the_middle_of_a_rollback_changes_nothing() -> None:
    moments = roll_back(MemoryStore())

    for first in range(1, moments + 1, 2):
        for second in range(1, moments + 1, 4):
            roll_back(MemoryStore(), first, second)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlStore]:
    """A database at head that need not survive a power cut; every story begins by emptying it."""
    url = f"sqlite:///{tmp_path_factory.mktemp('crashes') / 'history.db'}"
    migrate(url)
    store = SqlStore.open(url)
    event.listen(store.engine, "connect", lambda connection, _entry: connection.execute("PRAGMA synchronous = OFF"))
    yield store
    store.engine.dispose()


@pytest.mark.parametrize("story", [mitigate, restore])
def test_the_same_holds_on_a_database(story: Callable[..., int], database: SqlStore) -> None:
    def tell(*deaths: int) -> int:
        empty(database)
        return story(database, *deaths)

    for last in range(1, tell() + 1):
        tell(last)
