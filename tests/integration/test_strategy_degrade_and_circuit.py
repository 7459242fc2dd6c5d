"""`degrade` and `circuit_reset` through the flags and breakers that services really read, in a real Valkey."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from pydantic import ValidationError

from recovery.breaker import BreakerOptions, RedisBreakers
from recovery.breaker.fleet import Ended
from recovery.breaker.shared import SharedCircuits, key_of
from recovery.config.fleet import ServiceDeclaration
from recovery.degrade import RedisDegradations
from recovery.errors import StepFailed
from recovery.models import Action, BreakerOrder, BreakerState, Category, Level, Outcome, utcnow
from recovery.ports import Finding
from strategies import STRATEGIES
from strategies.circuit_reset import CircuitResetOptions
from strategies.degrade import DegradeOptions
from strategies.throttle import ThrottleOptions
from tests.contract.strategy_rigs import Bench, Probes, declare, degradation, journaled


@pytest.fixture
def bench(short_dir: Path, redis_client: redis.Redis) -> Bench:
    return Bench(short_dir, degradations=RedisDegradations(redis_client), breakers=RedisBreakers(redis_client))  # type: ignore[arg-type]


def search(**options: object) -> ServiceDeclaration:
    return declare("search", remedies={"degrade": {"features": ["search"], "capabilities": {"workers": 30}, **options}})  # type: ignore[dict-item]


def test_services_read_what_they_do_without_and_for_how_long(bench: Bench) -> None:
    bench.steps(search(level="minimal", ttl=60, reason="search is down"), "degrade", fence=4).run()

    current = bench.degradations.current("search")
    assert current is not None
    assert (current.level, current.features_off, current.capabilities) == (Level.MINIMAL, ("search",), {"workers": 30})
    assert (current.reason, current.fence) == ("search is down", 4)
    assert current.until - current.since == timedelta(seconds=60)


def test_a_restore_ends_it(bench: Bench) -> None:
    bench.steps(search(), "degrade", fence=1).run()

    bench.steps(search(), "degrade", Action.REVERT, fence=2).run()
    bench.steps(search(), "degrade", Action.REVERT, fence=2).run()

    assert bench.degradations.current("search") is None


@pytest.mark.parametrize("action", list(Action))
def test_an_older_attempt_cannot_change_a_newer_degradation(bench: Bench, action: Action) -> None:
    bench.degradations.put(degradation("search", 9))

    with pytest.raises(StepFailed, match="a newer degradation of 'search' is in force"):
        bench.steps(search(), "degrade", action, fence=3).run()

    current = bench.degradations.current("search")
    assert current is not None
    assert current.fence == 9


def test_degrading_mitigates_and_is_verified_by_the_declared_checks_only() -> None:
    strategy, service = STRATEGIES["degrade"], search(ttl=60, verify=["shop.page"])

    assert strategy.mitigates_for(service) == 60
    assert strategy.verify_with(service, Action.APPLY) == ("shop.page",)
    assert strategy.verify_with(search(), Action.APPLY) == ()
    assert strategy.verify_with(service, Action.REVERT) is None


@pytest.mark.parametrize(
    "options",
    [
        {"level": "normal"},
        {"level": "tiny"},
        {"capabilities": {"x": 101}},
        {"ttl": 0},
        {"verify": ["page"]},
        {"features": [""]},
        {"ramp": [100]},
    ],
)
def test_a_degradation_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        DegradeOptions.model_validate(options)


def test_who_finds_a_lost_workers_degradation_makes_it_his_own(bench: Bench) -> None:
    first = bench.steps(search(ttl=60), "degrade", fence=1).works[0]
    intent = journaled(first.prepare())
    first.run(intent)
    before = bench.degradations.current("search")

    found = bench.steps(search(ttl=60), "degrade", fence=2).works[0].reconcile(intent)

    current = bench.degradations.current("search")
    assert found is not None
    assert before is not None
    assert current == replace(before, fence=2), "a worker that was only frozen comes too late now"


def test_a_restore_lets_callers_back_by_the_ramp(bench: Bench) -> None:
    service = search(ramp=[10, 50], ramp_stage=600)
    bench.steps(service, "degrade", fence=1).run()

    results = bench.steps(service, "degrade", Action.REVERT, fence=2).run()

    current = bench.degradations.current("search")
    assert current is not None
    assert current.until <= utcnow()
    assert results["restore"]["restoring_until"] == current.gone_at.isoformat()


def test_a_throttle_leaves_a_part_of_one_capability(bench: Bench) -> None:
    service = declare("search", remedies={"throttle": {"capability": "indexing", "percent": 20, "ttl": 60}})

    bench.steps(service, "throttle", fence=4).run()

    (found,) = bench.degradations.all()
    assert (found.layer, found.level, found.capabilities, found.by) == ("throttle", Level.PARTIAL, {"indexing": 20}, "throttle")
    bench.steps(service, "throttle", Action.REVERT, fence=5).run()
    assert bench.degradations.all() == []


def test_remedies_do_not_end_each_other(bench: Bench) -> None:
    service = declare("search", remedies={"degrade": {}, "throttle": {}, "quarantine": {}})
    for strategy in ("degrade", "throttle", "quarantine"):
        bench.steps(service, strategy, fence=1).run()

    bench.steps(service, "throttle", Action.REVERT, fence=2).run()

    assert [found.layer for found in bench.degradations.all()] == ["recovery", "quarantine"]


# --- quarantine ---


def quarantined(**options: object) -> ServiceDeclaration:
    return declare("search", remedies={"quarantine": {"breaker": "search", **options}})  # type: ignore[dict-item]


def mode(bench: Bench) -> BreakerOrder:
    view = bench.breakers.view("search")
    assert view is not None
    return view.mode


def test_a_quarantine_leaves_no_traffic_and_refuses_callers_until_it_is_over(bench: Bench, redis_client: redis.Redis) -> None:
    bench.steps(quarantined(), "quarantine", fence=1).run()

    (found,) = bench.degradations.all()
    assert (found.layer, found.level, found.capabilities) == ("quarantine", Level.EMERGENCY, {"traffic": 0})
    view = bench.breakers.view("search")
    assert view is not None
    assert view.state is BreakerState.FORCED_OPEN

    bench.steps(quarantined(), "quarantine", Action.REVERT, fence=2).run()

    assert bench.degradations.all() == []
    assert mode(bench) is BreakerOrder.AUTO


def test_a_quarantine_can_be_renewed(bench: Bench) -> None:
    bench.steps(quarantined(ttl=60), "quarantine", fence=1).run()

    bench.steps(quarantined(ttl=600), "quarantine", fence=2).run()

    (found,) = bench.degradations.all()
    assert found.until > utcnow() + timedelta(seconds=300)
    view = bench.breakers.view("search")
    assert view is not None
    assert (view.mode, view.mode_by) == (BreakerOrder.FORCED_OPEN, "quarantine of search")
    assert view.mode_until is not None
    assert found.until < view.mode_until < found.until + timedelta(seconds=120), "its own end is there for when nobody lets it go"


@pytest.mark.parametrize("order", [BreakerOrder.FORCED_OPEN, BreakerOrder.DISABLED])
def test_a_breaker_that_an_operator_steers_is_not_taken_over(bench: Bench, order: BreakerOrder) -> None:
    bench.breakers.operate("search", order, "ann", "mine")

    with pytest.raises(StepFailed, match=f"ann has set breaker 'search' to {order}; `recovery breakers auto search` gives it free"):
        bench.steps(quarantined(), "quarantine", fence=1).run()

    assert bench.degradations.all() == []
    assert mode(bench) is order


@pytest.mark.parametrize("order", [BreakerOrder.FORCED_OPEN, BreakerOrder.DISABLED])
def test_an_operator_who_ordered_anything_meanwhile_has_the_last_word(bench: Bench, order: BreakerOrder) -> None:
    bench.steps(quarantined(), "quarantine", fence=1).run()
    bench.breakers.operate("search", order, "ann", "mine now")

    with pytest.raises(StepFailed, match="ann has set"):
        bench.steps(quarantined(), "quarantine", fence=2).run()
    bench.steps(quarantined(), "quarantine", Action.REVERT, fence=3).run()

    assert mode(bench) is order
    assert bench.degradations.all() == []


def test_a_breaker_that_was_held_open_before_orders_bore_a_name_is_let_go(bench: Bench, redis_client: redis.Redis) -> None:
    bench.steps(quarantined(), "quarantine", fence=1).run()
    redis_client.hdel(key_of("search"), "mode_until", "mode_by", "mode_reason")

    bench.steps(quarantined(), "quarantine", Action.REVERT, fence=2).run()

    assert mode(bench) is BreakerOrder.AUTO


def test_a_quarantine_that_could_not_isolate_holds_no_breaker(bench: Bench) -> None:
    bench.degradations.put(degradation("search", 99, layer="quarantine"))

    ended = bench.carry_out(quarantined(), "quarantine").attempt

    assert "a newer degradation of 'search' is in force" in ended.reason
    assert mode(bench) is BreakerOrder.AUTO


@pytest.mark.parametrize("options", [{"percent": 100}, {"capability": ""}, {"ramp": [50, 10]}, {"ramp_stage": 0}])
def test_a_throttle_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ThrottleOptions.model_validate(options)


def gateway(**options: object) -> ServiceDeclaration:
    return declare("gateway", remedies={"circuit_reset": {"interval": 0.01, **options}})  # type: ignore[dict-item]


def trip(client: "redis.Redis", name: str = "gateway", successes: int = 2, ramp: tuple[int, ...] = ()) -> None:
    """Open a breaker as a caller does."""
    options = BreakerOptions(failure_threshold=1, success_threshold=successes, ramp=ramp)
    SharedCircuits(client).tell(name, options, [Ended("failed", reason="refused")])


def test_a_breaker_closes_after_as_many_good_probes_as_it_asks_for(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client, successes=3)

    results = bench.steps(gateway(), "circuit_reset").run()

    view = bench.breakers.view("gateway")
    assert view is not None
    assert view.state is BreakerState.CLOSED
    assert results["half_open"]["state"] == "half_open"
    assert results["close"]["probes"] == 3
    assert bench.probe.asked == [("gateway.http",)] * 4


def test_a_breaker_of_a_dead_service_stays_open(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client)
    bench.probe.broken["gateway.http"] = "connection refused"

    with pytest.raises(StepFailed, match=r"breaker 'gateway' stays as it is: gateway.http: connection refused"):
        bench.steps(gateway(), "circuit_reset").run()

    view = bench.breakers.view("gateway")
    assert view is not None
    assert view.state is BreakerState.OPEN


class MendedWhileAsked(Probes):
    """Everything is well once it was asked `after` times."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    def __call__(self, checks: Sequence[str]) -> Mapping[str, Finding]:
        if len(self.asked) == self._after:
            self.broken.clear()
        return super().__call__(checks)


def test_a_patient_reset_waits_until_somebody_has_mended_the_dependency(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client)
    bench.probe = MendedWhileAsked(after=3)
    bench.probe.broken["gateway.http"] = "connection refused"

    ended = bench.carry_out(gateway(patience=60), "circuit_reset").attempt

    assert ended.outcome is Outcome.RESOLVED
    assert len(bench.probe.asked) > 3
    view = bench.breakers.view("gateway")
    assert view is not None
    assert view.state is BreakerState.CLOSED


def test_a_reset_without_patience_probes_once(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client)
    bench.probe.broken["gateway.http"] = "connection refused"

    ended = bench.carry_out(gateway(), "circuit_reset").attempt

    assert ended.reason == "breaker 'gateway' stays as it is: gateway.http: connection refused"
    assert bench.probe.asked == [("gateway.http",)]


def test_a_bad_probe_in_half_open_opens_it_again(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client)
    attempted = bench.steps(gateway(), "circuit_reset")
    attempted.run(["probe", "half_open"])
    bench.probe.broken["gateway.http"] = "answered 500"

    with pytest.raises(StepFailed, match=r"breaker 'gateway' opens again: gateway.http: answered 500"):
        attempted.run(["close"])

    view = bench.breakers.view("gateway")
    assert view is not None
    assert view.state is BreakerState.OPEN


def test_a_breaker_that_asks_for_more_than_is_allowed_is_left_half_open(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client, successes=5)

    with pytest.raises(StepFailed, match="is half_open after 2 good probes"):
        bench.steps(gateway(probes=2), "circuit_reset").run()


def test_a_breaker_with_a_name_and_probes_of_its_own(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client, name="payments")

    bench.steps(gateway(breaker="payments", probe=["bank.tcp"]), "circuit_reset").run()

    view = bench.breakers.view("payments")
    assert view is not None
    assert view.state is BreakerState.CLOSED
    assert set(bench.probe.asked) == {("bank.tcp",)}


def test_a_breaker_that_nobody_opened_is_left_alone(bench: Bench) -> None:
    results = bench.steps(gateway(), "circuit_reset").run()

    assert results["close"]["probes"] == 0


def test_without_a_check_there_is_nothing_to_probe_with() -> None:
    service = gateway().model_copy(update={"checks": ()})

    assert STRATEGIES["circuit_reset"].refuses(service, Category.CIRCUIT_OPEN) == "there is no check to probe with"
    assert STRATEGIES["circuit_reset"].refuses(gateway(), Category.CIRCUIT_OPEN) is None


@pytest.mark.parametrize("options", [{"probes": 0}, {"interval": -1}, {"breaker": "a b"}, {"probe": ["x"]}])
def test_a_reset_that_makes_no_sense_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CircuitResetOptions.model_validate(options)


def test_a_breaker_with_a_ramp_is_left_to_it_after_good_probes(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client, ramp=(10, 50))

    results = bench.steps(gateway(), "circuit_reset").run()

    assert results["close"]["state"] == "half_open"
    view = bench.breakers.view("gateway")
    assert view is not None
    assert view.percent == 10


def test_a_breaker_that_an_operator_holds_open_is_left_alone(bench: Bench, redis_client: redis.Redis) -> None:
    trip(redis_client)
    bench.breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "ann", "a leak")

    with pytest.raises(StepFailed, match="breaker 'gateway' is held open by an operator; `recovery breakers auto gateway` gives it free"):
        bench.steps(gateway(), "circuit_reset").run()

    view = bench.breakers.view("gateway")
    assert view is not None
    assert view.state is BreakerState.FORCED_OPEN
