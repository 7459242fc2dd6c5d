"""What a sweep tells the world: each change once."""

import pytest

from recovery.models import Category, Status
from tests.sweeping import check, scene


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
