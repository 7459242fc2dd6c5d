"""What a sweep probes, stores, reports and says."""

import json
import math
from datetime import timedelta
from typing import Any

from recovery.models import Category, Severity, Status, fingerprint_of
from recovery.ports import Finding
from tests.sweeping import NOON, check, scene


def test_a_healthy_fleet_is_recorded_and_reports_nothing() -> None:
    it = scene(shop=(check(),), mail=(check(),))

    swept = it.sweep()

    assert swept.unhealthy == ()
    assert swept.healthy == {"shop", "mail"}
    assert [(sample.service, sample.ok) for sample in swept.samples] == [("shop", True), ("mail", True)]
    assert {name: state.status for name, state in it.store.service_states().items()} == {"shop": Status.HEALTHY, "mail": Status.HEALTHY}
    assert it.event_names() == ["service:registered", "service:registered"]


def test_an_unhealthy_service_is_reported_with_what_was_seen() -> None:
    it = scene(shop=(check(severity="critical"),))
    it.sweep()
    it.breaks("shop.web", "answered 500")

    (failure,) = it.sweep().unhealthy

    assert (failure.service, failure.category, failure.severity, failure.source) == (
        "shop",
        Category.SERVICE_UNAVAILABLE,
        Severity.CRITICAL,
        "health",
    )
    assert failure.message == "web: answered 500"
    assert failure.occurred_at == NOON + timedelta(seconds=10)
    assert failure.labels == {"team": "web"}
    assert failure.details["checks"] == {"web": "answered 500"}


def test_it_is_reported_in_every_sweep_while_it_fails_with_the_same_start_and_a_new_id() -> None:
    it = scene(shop=(check(),))
    it.breaks("shop.web")

    reports = [it.sweep().unhealthy[0] for _ in range(3)]

    assert {report.occurred_at for report in reports} == {NOON}
    assert len({report.id for report in reports}) == 3
    assert len({report.fingerprint for report in reports}) == 1


def test_nothing_is_reported_before_fall_failures_in_a_row() -> None:
    it = scene(shop=(check(fall=3),))
    it.breaks("shop.web")

    assert [len(it.sweep().unhealthy) for _ in range(4)] == [0, 0, 1, 1]


def test_a_service_on_its_way_back_is_neither_reported_nor_called_healthy() -> None:
    it = scene(shop=(check(rise=2),))
    it.breaks("shop.web")
    it.sweep()
    it.mends("shop.web")

    first, second = it.sweep(), it.sweep()

    assert (first.unhealthy, first.healthy) == ((), frozenset())
    assert second.healthy == {"shop"}


def test_the_most_telling_check_speaks_for_the_service_and_its_details_come_along() -> None:
    it = scene(shop=(check("web", severity="critical"), check("cache")))
    it.breaks("shop.web", "answered 500")
    it.breaks("shop.cache", "2 entries", Category.CACHE_CORRUPTION, corrupted=["a", "b"])

    (failure,) = it.sweep().unhealthy

    assert failure.category is Category.CACHE_CORRUPTION
    assert failure.severity is Severity.CRITICAL
    assert failure.details["corrupted"] == ["a", "b"]
    assert failure.details["checks"] == {"cache": "2 entries", "web": "answered 500"}


def test_a_service_with_an_open_recovery_or_a_hold_is_not_reported() -> None:
    it = scene(shop=(check(),), mail=(check(),), feed=(check(),))
    for name in it.fleet.services:
        it.breaks(f"{name}.web")
    it.busy = {"shop": None, "mail": NOON + timedelta(seconds=15)}

    reported = [{failure.service for failure in it.sweep().unhealthy} for _ in range(3)]

    assert reported == [{"feed"}, {"feed"}, {"feed", "mail"}]


def test_a_fingerprint_that_is_quiet_does_not_hide_another_failure_of_its_service() -> None:
    it = scene(shop=(check(), check("cache", category=Category.CACHE_CORRUPTION)))
    it.breaks("shop.web")
    it.busy = {fingerprint_of("shop", Category.SERVICE_UNAVAILABLE): NOON + timedelta(hours=1)}

    assert it.sweep().unhealthy == ()
    it.breaks("shop.cache")
    assert [failure.category for failure in it.sweep().unhealthy] == [Category.CACHE_CORRUPTION]


def test_evidence_from_before_the_end_of_a_hold_is_not_reported() -> None:
    it = scene(shop=(check(),))
    it.breaks("shop.web")
    it.on_probe = lambda _name: it.busy.update(shop=NOON + timedelta(seconds=2))

    assert it.sweep().unhealthy == ()
    it.on_probe = lambda _name: None
    assert len(it.sweep().unhealthy) == 1


def test_what_was_seen_while_a_recovery_was_at_work_is_not_reported_once_it_is_done() -> None:
    it = scene(shop=(check(),))
    it.breaks("shop.web")
    it.busy = {"shop": None}
    it.on_probe = lambda _name: it.busy.clear()

    assert it.sweep().unhealthy == ()
    assert len(it.sweep().unhealthy) == 1


def test_a_verdict_of_another_interval_is_not_reported_without_new_evidence() -> None:
    it = scene(shop=(check("web"), check("deep", interval=100)))
    it.breaks("shop.deep")

    assert len(it.sweep(interval=100).unhealthy) == 1
    swept = it.sweep(interval=10)

    assert swept.unhealthy == ()
    assert swept.healthy == frozenset()
    assert it.store.service_states()["shop"].status is Status.UNHEALTHY


def test_a_service_is_healthy_only_when_checks_of_all_intervals_are() -> None:
    it = scene(shop=(check("web"), check("deep", interval=100)))

    assert it.sweep(interval=10).healthy == frozenset()
    assert it.store.service_states()["shop"].status is Status.UNKNOWN
    assert it.sweep(interval=100).healthy == {"shop"}


def test_a_probe_that_began_before_the_last_start_is_thrown_away() -> None:
    it = scene(shop=(check(),))
    it.breaks("shop.web")
    it.on_probe = lambda _name: it.store.mark_started("shop", NOON + timedelta(seconds=1))

    swept = it.sweep()

    assert (swept.samples, swept.unhealthy) == ((), ())
    assert it.store.check_states(["shop"]) == {}


def test_failures_within_the_grace_after_a_start_are_not_reported() -> None:
    it = scene(shop=(check(start_grace=25),))
    it.store.mark_started("shop", NOON)
    it.breaks("shop.web")

    assert [len(it.sweep().unhealthy) for _ in range(4)] == [0, 0, 0, 1]


def test_the_grace_of_a_service_never_seen_before_begins_with_its_first_sweep() -> None:
    it = scene(shop=(check(start_grace=15),))
    it.breaks("shop.web")

    assert [len(it.sweep().unhealthy) for _ in range(3)] == [0, 0, 1]
    assert it.store.service_states()["shop"].started_at == NOON


def test_a_check_that_is_not_declared_any_more_no_longer_counts() -> None:
    it = scene(shop=(check("web"), check("old")))
    it.breaks("shop.old")
    it.sweep()
    it.fleet = scene(shop=(check("web"),)).fleet

    assert it.sweep().healthy == {"shop"}


def test_a_long_message_is_cut_before_it_is_stored_and_reported() -> None:
    it = scene(shop=(check(),))
    it.breaks("shop.web", "x" * 100_000)

    (failure,) = it.sweep().unhealthy

    assert len(failure.message) < 4_000


def test_what_no_database_can_store_is_made_storable() -> None:
    it = scene(shop=(check(),))
    odd: dict[str, Any] = {
        "deep": {"a": (1, None, True)},
        "when": NOON,
        "ratio": math.nan,
        "raw": b"\xff",
        "many": {1, 2},
        "nul\0": ["\ud800"],
    }
    it.findings["shop.web"] = Finding(ok=False, message="a\0b\ud800", details=odd)

    (failure,) = it.sweep().unhealthy

    assert failure.message == "web: a\ufffdb?"
    assert {key: failure.details[key] for key in ("when", "ratio", "many", "deep", "nul\ufffd")} == {
        "when": "2026-01-01 12:00:00+00:00",
        "ratio": "nan",
        "many": [1, 2],
        "deep": {"a": [1, None, True]},
        "nul\ufffd": ["?"],
    }
    assert json.loads(failure.model_dump_json())["details"]["raw"] == "b'\\xff'"
