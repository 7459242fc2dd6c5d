"""What a sweep probes, stores, reports and says."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel, JsonValue

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.probe import Target
from recovery.detect.sweep import Sweeper, Swept, offset_of, targets_of
from recovery.models import Category, CheckState, Event, Sample, ServiceState, Severity, Status, fingerprint_of
from recovery.ports import CheckKind, Finding
from recovery.registry import Registry
from recovery.store.memory import MemoryStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class NoBeats:
    def last(self, service: str) -> datetime | None:
        return None


class NoOptions(BaseModel):
    pass


class Recording(MemoryStore):
    """Keep the events that are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Event] = []

    def record_sweep(
        self,
        samples: Sequence[Sample],
        checks: Sequence[CheckState],
        services: Sequence[ServiceState],
        events: Sequence[Event],
        now: datetime | None = None,
    ) -> None:
        super().record_sweep(samples, checks, services, events, now)
        self.told.extend(events)


@dataclass
class Scene:
    """A fleet whose checks find what the test says, and a clock that moves only between sweeps."""

    fleet: Fleet
    now: datetime = NOON
    findings: dict[str, Finding] = field(default_factory=dict)
    busy: dict[str, datetime | None] = field(default_factory=dict)
    on_probe: Callable[[str], None] = lambda _name: None
    store: Recording = field(default_factory=Recording)

    def sweep(self, interval: float = 10, shard: int = 0, shards: int = 1) -> Swept:
        swept = Sweeper(self.store, self.kinds(), NoBeats(), lambda: self.now, lambda: dict(self.busy)).run(
            self.fleet, interval, shard, shards
        )
        self.now += timedelta(seconds=interval)
        return swept

    def kinds(self) -> Registry[CheckKind]:
        kinds: Registry[CheckKind] = Registry("check kind")
        kinds.add("told", CheckKind("told", NoOptions, lambda service, check, _beats: Told(self, f"{service.name}.{check.name}")))
        return kinds

    def breaks(self, name: str, message: str = "broken", category: Category | None = None, **details: JsonValue) -> None:
        self.findings[name] = Finding(ok=False, message=message, category=category, details={**details})

    def mends(self, name: str) -> None:
        self.findings.pop(name)

    def event_names(self) -> list[str]:
        return [event.name for event in self.store.told]


@dataclass(frozen=True)
class Told:
    scene: Scene
    name: str

    async def probe(self) -> Finding:
        self.scene.on_probe(self.name)
        return self.scene.findings.get(self.name, Finding(ok=True))


def check(name: str = "web", **more: object) -> CheckDeclaration:
    return CheckDeclaration.model_validate({"name": name, "type": "told", "interval": 10, "fall": 1, "rise": 1, **more})


def scene(**services: tuple[CheckDeclaration, ...]) -> Scene:
    declared = {name: ServiceDeclaration(name=name, checks=checks, labels={"team": "web"}) for name, checks in services.items()}
    return Scene(Fleet(version="1", services=declared))


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


def test_a_sweep_that_somebody_else_just_began_is_left_alone() -> None:
    it = scene(shop=(check(),))
    it.sweep()
    it.now = NOON + timedelta(seconds=3)
    it.on_probe = lambda name: pytest.fail(f"{name} was probed twice")

    assert it.sweep() == Swept(claimed=False)


def test_sweeps_of_other_intervals_and_shards_are_claimed_separately() -> None:
    it = scene(shop=(check(),))

    claimed = []
    for interval, shard in ((10, 0), (10.0, 1), (5, 0)):
        it.now = NOON
        claimed.append(it.sweep(interval, shard, shards=2).claimed)
    it.now = NOON
    assert not it.sweep(10.0, 0, shards=2).claimed
    assert claimed == [True, True, True]


def test_every_service_is_in_exactly_one_shard_and_they_are_spread() -> None:
    it = scene(**{f"s{number}": (check(),) for number in range(400)})

    parts = [{target.service.name for target in targets_of(it.fleet, 10, shard, 4)} for shard in range(4)]

    assert sum(len(part) for part in parts) == 400
    assert set().union(*parts) == set(it.fleet.services)
    assert min(len(part) for part in parts) > 50


def test_all_checks_of_a_service_are_in_the_same_shard() -> None:
    it = scene(shop=(check("a"), check("b", interval=20)))

    homes = {shard for interval in (10, 20) for shard in range(7) if targets_of(it.fleet, interval, shard, 7)}

    assert len(homes) == 1


@pytest.mark.parametrize(("jitter", "most"), [(0, 0), (4, 4), (100, 7)])
def test_jitter_spreads_the_starts_but_leaves_time_to_finish(jitter: float, most: float) -> None:
    owner = ServiceDeclaration(name="shop")
    offsets = [offset_of(Target(owner, check(f"c{number}", jitter=jitter, timeout=3))) for number in range(200)]

    assert all(0 <= offset <= most for offset in offsets)
    assert max(offsets) >= 0.9 * most


def test_a_check_that_is_not_declared_any_more_no_longer_counts() -> None:
    it = scene(shop=(check("web"), check("old")))
    it.breaks("shop.old")
    it.sweep()
    it.fleet = scene(shop=(check("web"),)).fleet

    assert it.sweep().healthy == {"shop"}


def test_events_tell_each_change_once() -> None:
    it = scene(shop=(check(),))
    it.sweep()
    it.breaks("shop.web", "answered 500")
    it.sweep()
    it.sweep()
    it.mends("shop.web")
    it.sweep()
    it.sweep()

    assert it.event_names() == ["service:registered", "service:degraded", "service:recovered"]
    assert it.store.told[1].data["message"] == "web: answered 500"
    assert it.store.told[2].data["seconds"] == 20.0


def test_a_service_that_was_restarted_recovers_when_it_is_seen_healthy_again() -> None:
    it = scene(shop=(check(),))
    it.breaks("shop.web")
    it.sweep()
    it.store.mark_started("shop", it.now)
    it.mends("shop.web")

    swept = it.sweep()

    assert [state.status for state in swept.changed] == [Status.HEALTHY]
    assert it.event_names()[-1] == "service:recovered"


@pytest.mark.parametrize(
    ("category", "event"),
    [
        (Category.MEMORY_PRESSURE, "health:high_memory"),
        (Category.CPU_PRESSURE, "health:high_cpu"),
        (Category.DISK_PRESSURE, "health:high_disk"),
        (Category.SLOW_RESPONSES, "health:slow_response"),
        (Category.HIGH_ERROR_RATE, "health:high_errors"),
    ],
)
def test_pressure_is_told_when_its_check_falls(category: Category, event: str) -> None:
    it = scene(shop=(check(),))
    it.breaks("shop.web", "much", category)
    it.sweep()
    it.sweep()

    assert it.event_names().count(event) == 1


def test_a_removed_interval_sweeps_nothing() -> None:
    it = scene(shop=(check(),))

    swept = it.sweep(interval=7)

    assert swept == Swept()
    assert it.store.service_states() == {}


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
