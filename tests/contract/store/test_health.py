"""Sweeps: claimed once, stored as a whole, and never older than what is known."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from recovery.models import Category, CheckState, FailureType, Sample, ServiceState, Status
from recovery.ports import Store
from tests.rows import at, event


def check(moment: float, name: str = "http", service: str = "shop", **fields: Any) -> CheckState:
    return CheckState(service, name, at=at(moment), **{"status": Status.HEALTHY} | fields)


def state(moment: float, service: str = "shop", **fields: Any) -> ServiceState:
    return ServiceState(service, seen_at=at(moment), **{"status": Status.HEALTHY} | fields)


def test_a_sweep_is_claimed_once_per_half_interval(store: Store) -> None:
    assert store.claim_sweep("1s:0", at(0), 1.0)
    assert not store.claim_sweep("1s:0", at(0.499), 1.0)
    assert store.claim_sweep("1s:1", at(0.499), 1.0)
    assert store.claim_sweep("1s:0", at(0.5), 1.0)


def test_a_clock_that_was_set_back_does_not_stop_the_sweeps(store: Store) -> None:
    store.claim_sweep("60s:0", at(3600), 60.0)

    assert not store.claim_sweep("60s:0", at(3596), 60.0)
    assert store.claim_sweep("60s:0", at(0), 60.0)


def test_fault_12_of_many_threads_exactly_one_claims_a_sweep(store: Store) -> None:
    for turn in range(5):
        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(lambda moment: store.claim_sweep("10s:0", at(moment), 10.0), [turn * 10] * 8))
        assert claims.count(True) == 1


def test_what_a_sweep_stored_is_read_back_field_by_field(store: Store) -> None:
    sick = check(
        1,
        status=Status.UNHEALTHY,
        failures=3,
        first_failure_at=at(-2),
        message="refused",
        category=Category.CACHE,
        type=FailureType.TIMEOUT,
        latency=0.25,
        details={"keys": ["a", "b"]},
    )
    well = check(1, "tcp", successes=7)
    shop = state(1, status=Status.UNHEALTHY, score=50, since=at(0), started_at=at(-60), stable_since=at(-9), message="http: refused")
    sample = Sample("shop", "http", at(1), ok=False, latency=0.25, message="refused", details={"keys": ["a"]})

    store.record_sweep([sample], [sick, well], [shop], [event("service:degraded")])

    assert store.check_states(["shop", "cart"]) == {("shop", "http"): sick, ("shop", "tcp"): well}
    assert store.check_states([]) == {}
    assert store.service_states() == {"shop": shop}


def test_an_empty_sweep_is_nothing(store: Store) -> None:
    store.record_sweep([], [], [], [])

    assert store.service_states() == {}


def test_an_older_sweep_that_ends_late_changes_nothing(store: Store) -> None:
    store.record_sweep([], [check(5, failures=2)], [state(5, score=10)], [])

    store.record_sweep([], [check(4), check(4, "tcp")], [state(4)], [])

    assert store.check_states(["shop"]) == {("shop", "http"): check(5, failures=2), ("shop", "tcp"): check(4, "tcp")}
    assert store.service_states() == {"shop": state(5, score=10)}


def test_a_start_clears_the_verdicts_and_moves_the_grace(store: Store) -> None:
    store.record_sweep([], [check(1, failures=3), check(1, "tcp"), check(1, service="cart")], [state(1, score=0, message="down")], [])

    store.mark_started("shop", at(2))

    assert store.check_states(["shop", "cart"]) == {("cart", "http"): check(1, service="cart")}
    assert store.service_states()["shop"] == state(1, score=0, message="down", started_at=at(2))


def test_what_was_seen_before_a_start_no_longer_counts(store: Store) -> None:
    store.record_sweep([], [check(1)], [state(1)], [])
    store.mark_started("shop", at(3))

    store.record_sweep([], [check(2.9, failures=9, status=Status.UNHEALTHY)], [state(3.5, status=Status.UNHEALTHY, score=0)], [])
    assert store.check_states(["shop"]) == {}
    assert store.service_states()["shop"].status is Status.HEALTHY

    store.record_sweep([], [check(3)], [state(4, score=99)], [])
    assert store.check_states(["shop"]) == {("shop", "http"): check(3)}
    assert store.service_states()["shop"] == state(4, score=99, started_at=at(3))


@pytest.mark.parametrize("known", [True, False])
def test_a_start_is_never_moved_back(store: Store, known: bool) -> None:
    if known:
        store.record_sweep([], [], [state(1, started_at=at(0))], [])

    store.mark_started("shop", at(9))
    store.mark_started("shop", at(5))
    store.record_sweep([], [], [state(10, started_at=at(0))], [])

    assert store.service_states()["shop"].started_at == at(9)


def test_a_service_that_nobody_saw_can_be_started(store: Store) -> None:
    store.mark_started("shop", at(1))

    assert store.service_states() == {"shop": replace(ServiceState("shop"), started_at=at(1))}
