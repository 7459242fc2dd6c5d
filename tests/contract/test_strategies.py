"""Every strategy can be interrupted anywhere: what took effect is found again, what did not is run, and nothing acts without its guard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from recovery.errors import LeaseLost, StoreUnavailable
from recovery.models import Action, Category
from strategies import OPTIONS, PLANNED, QUEUES, STRATEGIES
from strategies.drivers import DRIVERS
from tests.contract.strategy_rigs import (
    Attempted,
    Bench,
    cache_remedy,
    declare,
    degradation,
    endpoint,
    fill_cache,
    journaled,
    make_database,
    process_driver,
    scribble,
)
from tests.support import eventually

LOOKING = {"choose", "find", "verify", "probe", "ready", "reload"}
"""Steps that may be repeated, so that they need not find their own effect."""


@dataclass
class Case:
    bench: Bench
    attempted: Attempted


Cases = dict[str, Callable[[], Case]]


@pytest.fixture
def cases(short_dir: Path, redis_client: redis.Redis, valkey_url: str) -> Iterator[Cases]:
    bench = Bench(short_dir)
    running = declare(driver=process_driver(short_dir))

    def up() -> None:
        DRIVERS["process"].build(running).start()
        eventually(lambda: list(short_dir.glob("ready-*")))

    def restart() -> Case:
        up()
        return Case(bench, bench.steps(running, "restart"))

    def reload() -> Case:
        up()
        return Case(bench, bench.steps(running, "reload"))

    def cache_rebuild() -> Case:
        fill_cache(redis_client, "abc")
        redis_client.set("product:b", b"scribble", keepttl=True)
        return Case(bench, bench.steps(declare(remedies={"cache_rebuild": cache_remedy(short_dir, valkey_url)}), "cache_rebuild"))

    def degrade() -> Case:
        return Case(bench, bench.steps(declare(remedies={"degrade": {"features": ["search"]}}), "degrade"))

    def restore_features() -> Case:
        bench.degradations.put(degradation("shop", 1))
        return Case(bench, bench.steps(declare(remedies={"degrade": {}}), "degrade", Action.REVERT, fence=2))

    def restore_data(*, stop_service: bool = False) -> Case:
        (short_dir / "backups").mkdir()
        make_database(short_dir / "backups" / "orders-1.db")
        scribble(make_database(short_dir / "orders.db"))
        (short_dir / "orders.db-wal").write_bytes(b"stale")
        options = {"path": str(short_dir / "orders.db"), "backups": str(short_dir / "backups"), "stop_service": stop_service}
        driver = running.driver if stop_service else None
        service = declare(remedies={"backup_fallback": options}).model_copy(update={"driver": driver})
        return Case(bench, bench.steps(service, "backup_fallback"))

    def restore_data_of_a_stopped_service() -> Case:
        up()
        return restore_data(stop_service=True)

    backup = {"name": "standby", "url": "http://standby.example", "check": "standby.http"}

    def switch_endpoint() -> Case:
        return Case(bench, bench.steps(declare(remedies={"backup_fallback": {"endpoints": [backup]}}), "backup_fallback"))

    def switch_back() -> Case:
        bench.endpoints.switch(endpoint("shop", 1))
        service = declare(remedies={"backup_fallback": {"endpoints": [backup]}})
        return Case(bench, bench.steps(service, "backup_fallback", Action.REVERT, fence=2))

    def circuit_reset() -> Case:
        bench.breakers.record("shop", ok=False)
        return Case(bench, bench.steps(declare(remedies={"circuit_reset": {"interval": 0.01}}), "circuit_reset"))

    makers: list[Callable[[], Case]] = [
        *(restart, reload, cache_rebuild, degrade, restore_features, restore_data),
        *(restore_data_of_a_stopped_service, switch_endpoint, switch_back, circuit_reset),
    ]
    yield {make.__name__: make for make in makers}
    DRIVERS["process"].build(running).stop(0.0)


NAMES = [
    *("restart", "reload", "cache_rebuild", "degrade", "restore_features", "restore_data"),
    *("restore_data_of_a_stopped_service", "switch_endpoint", "switch_back", "circuit_reset"),
]


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest, cases: Cases) -> Case:
    return cases[request.param]()


def test_the_effect_of_every_step_is_found_again_after_its_result_was_lost(case: Case) -> None:
    for work in case.attempted.works:
        intent = journaled(work.prepare())
        if work.name not in LOOKING:
            assert work.reconcile(intent) is None, f"{work.name} claims an effect before it ran"

        result = work.run(intent)

        found = work.reconcile(intent)
        if work.name in LOOKING:
            found = work.run(intent)
        assert found is not None, f"{work.name} does not find its own effect"
        journaled(found)
        case.attempted.results[work.name] = journaled(result)


def test_every_step_can_follow_on_what_reconcile_found(case: Case) -> None:
    for work in case.attempted.works:
        intent = journaled(work.prepare())
        result = work.run(intent)
        case.attempted.results[work.name] = journaled(work.reconcile(intent) or result)


def test_no_step_acts_once_the_lease_is_lost(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> None:
        raise LeaseLost

    for work in case.attempted.works:
        intent = journaled(work.prepare())
        if work.name not in LOOKING:
            with monkeypatch.context() as patch:
                patch.setattr(case.attempted, "guard", lost)
                with pytest.raises(LeaseLost):
                    work.run(intent)
            assert work.reconcile(intent) is None, f"{work.name} acted without its lease"
        case.attempted.results[work.name] = journaled(work.run(intent))


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_strategy_belongs_to_a_queue_and_tells_its_options(name: str) -> None:
    strategy = STRATEGIES[name]

    assert strategy.name == name
    assert QUEUES[name] in {"restart", "cache_rebuild", "degrade", "backup_fallback", "circuit_reset"}
    assert OPTIONS[name].model_config["extra"] == "forbid"
    assert OPTIONS[name].model_config["frozen"] is True
    assert strategy.priority > 0
    assert strategy.typical_seconds > 0


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_every_strategy_refuses_a_service_that_declares_nothing_with_a_reason(name: str) -> None:
    assert STRATEGIES[name].refuses(declare(), Category.UNKNOWN)


def test_strategies_that_only_plan_refuse_to_act(short_dir: Path) -> None:
    service = declare(remedies={"degrade": {}})
    bench = Bench(short_dir)
    assert STRATEGIES["degrade"].refuses(service, Category.UNKNOWN) is None

    with pytest.raises(StoreUnavailable, match="can plan, not act"):
        STRATEGIES["degrade"].steps(bench.context(service), Action.APPLY)[0].prepare()


def test_what_is_planned_for_later_is_not_there_yet() -> None:
    assert PLANNED.isdisjoint(STRATEGIES)
