"""Every strategy can be interrupted anywhere: what took effect is found again, what did not is run, and nothing acts without its guard."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import LeaseLost, StoreUnavailable
from recovery.models import Action, BreakerOrder, Category, JsonObject
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


STANDBY: JsonObject = {"endpoints": [{"name": "standby", "url": "http://standby.example", "check": "standby.http"}]}


@dataclass
class Case:
    bench: Bench
    attempted: Attempted


class Cases:
    """Makes one broken thing, and the attempt to mend it, per way of running a strategy."""

    def __init__(self, home: Path, cache: redis.Redis, cache_url: str) -> None:
        self._home = home
        self._cache = cache
        self._cache_url = cache_url
        self._bench = Bench(home)
        self._running = declare(driver=process_driver(home))

    def close(self) -> None:
        DRIVERS["process"].build(self._running).stop(0.0)

    def restart(self) -> Case:
        self._up()
        return self._case(self._running, "restart")

    def reload(self) -> Case:
        self._up()
        return self._case(self._running, "reload")

    def cache_rebuild(self) -> Case:
        fill_cache(self._cache, "abc")
        self._cache.set("product:b", b"scribble", keepttl=True)
        return self._case(declare(remedies={"cache_rebuild": cache_remedy(self._home, self._cache_url)}), "cache_rebuild")

    def degrade(self) -> Case:
        return self._case(declare(remedies={"degrade": {"features": ["search"]}}), "degrade")

    def degrade_again(self) -> Case:
        self._bench.degradations.put(degradation("shop", 1))
        return self.degrade()

    def throttle(self) -> Case:
        return self._case(declare(remedies={"throttle": {"percent": 20, "ramp": [10, 50]}}), "throttle")

    def give_back_requests(self) -> Case:
        self._bench.degradations.put(degradation("shop", 1, layer="throttle", ramp=(10, 50)))
        return self._case(declare(remedies={"throttle": {}}), "throttle", Action.REVERT)

    def quarantine(self) -> Case:
        self._bench.breakers.count("shop", ok=True)
        return self._case(declare(remedies={"quarantine": {"breaker": "shop"}}), "quarantine")

    def end_quarantine(self) -> Case:
        self._bench.breakers.operate("shop", BreakerOrder.FORCED_OPEN, "quarantine of shop", "")
        self._bench.degradations.put(degradation("shop", 1, layer="quarantine"))
        return self._case(declare(remedies={"quarantine": {"breaker": "shop"}}), "quarantine", Action.REVERT)

    def restore_features(self) -> Case:
        self._bench.degradations.put(degradation("shop", 1))
        return self._case(declare(remedies={"degrade": {}}), "degrade", Action.REVERT)

    def restore_data(self) -> Case:
        return self._case(declare(remedies={"backup_fallback": self._broken_data()}), "backup_fallback")

    def restore_data_of_a_stopped_service(self) -> Case:
        self._up()
        remedy: JsonObject = {**self._broken_data(), "stop_service": True}
        service = declare(remedies={"backup_fallback": remedy}).model_copy(update={"driver": self._running.driver})
        return self._case(service, "backup_fallback")

    def switch_endpoint(self) -> Case:
        return self._case(declare(remedies={"backup_fallback": STANDBY}), "backup_fallback")

    def switch_back(self) -> Case:
        self._bench.endpoints.switch(endpoint("shop", 1))
        return self._case(declare(remedies={"backup_fallback": STANDBY}), "backup_fallback", Action.REVERT)

    def circuit_reset(self) -> Case:
        self._bench.breakers.count("shop", ok=False)
        return self._case(declare(remedies={"circuit_reset": {"interval": 0.01}}), "circuit_reset")

    def _case(self, service: ServiceDeclaration, strategy: str, action: Action = Action.APPLY) -> Case:
        return Case(self._bench, self._bench.steps(service, strategy, action, fence=2))

    def _up(self) -> None:
        DRIVERS["process"].build(self._running).start()
        eventually(lambda: list(self._home.glob("ready-*")))

    def _broken_data(self) -> JsonObject:
        (self._home / "backups").mkdir()
        make_database(self._home / "backups" / "orders-1.db")
        scribble(make_database(self._home / "orders.db"))
        (self._home / "orders.db-wal").write_bytes(b"stale")
        return {"path": str(self._home / "orders.db"), "backups": str(self._home / "backups")}


@pytest.fixture
def cases(short_dir: Path, redis_client: redis.Redis, valkey_url: str) -> Iterator[Cases]:
    cases = Cases(short_dir, redis_client, valkey_url)
    yield cases
    cases.close()


@pytest.fixture(params=[name for name in vars(Cases) if not name.startswith("_") and name != "close"])
def case(request: pytest.FixtureRequest, cases: Cases) -> Case:
    case: Case = getattr(cases, request.param)()
    return case


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


def test_no_step_acts_once_the_lease_is_lost(case: Case) -> None:
    for work in case.attempted.works:
        intent = journaled(work.prepare())
        if work.name not in LOOKING:
            case.attempted.lost = True
            with pytest.raises(LeaseLost):
                work.run(intent)
            case.attempted.lost = False
            assert work.reconcile(intent) is None, f"{work.name} acted without its lease"
        case.attempted.results[work.name] = journaled(work.run(intent))


def test_what_every_step_did_can_be_taken_back_and_is_found_taken_back_after_a_crash(case: Case) -> None:
    done = []
    for work in case.attempted.works:
        intent = journaled(work.prepare())
        result = case.attempted.results[work.name] = journaled(work.run(intent))
        done.append((work, intent, result))

    for work, intent, result in reversed(done):
        undo = work.undo(intent, result) if work.undo else None
        if undo is None:
            continue
        seen = journaled(undo.prepare())
        if work.name != "stage":  # its copy became the restored file
            assert undo.reconcile(seen) is None, f"the undo of {work.name} claims to be done before it ran"
        case.attempted.lost = True
        with pytest.raises(LeaseLost):
            undo.run(seen)
        case.attempted.lost = False
        journaled(undo.run(seen))
        assert undo.reconcile(seen) is not None, f"the undo of {work.name} does not find its own effect"


def test_a_remedy_that_only_mitigates_can_be_taken_back(cases: Cases) -> None:
    for case in (cases.degrade(), cases.throttle(), cases.quarantine(), cases.switch_endpoint()):
        assert any(work.undo for work in case.attempted.works)


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
