"""Requests by message: who asked for a recovery, or for its end, is in the audit trail, once however often the message comes."""

from types import SimpleNamespace
from typing import Any

import pytest

from recovery.models import utcnow
from tests.world import World
from workers.tasks import intake


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World("restart")
    world.now = utcnow()
    parts = SimpleNamespace(store=world.store, desk=world.desk, coordinator=world.coordinator)
    monkeypatch.setattr(intake, "platform", lambda: parts)
    monkeypatch.setattr(intake, "obey", lambda _directive: None)
    monkeypatch.setattr(intake, "proceed", lambda _accepted: None)
    return world


def call(task: Any, task_id: str, **kwargs: Any) -> Any:
    """Run a task as a worker would, and return what it returns or raise what it raises."""
    return task.apply(kwargs=kwargs, task_id=task_id).get()


def audits(world: World, action: str) -> list[tuple[str, Any, Any]]:
    return [(row.actor, row.detail["recovery_id"], row.detail["reason"]) for row in world.store.audits if row.action == action]


def test_who_asked_for_a_recovery_is_in_the_audit_trail_once(world: World) -> None:
    answers = [call(intake.trigger, "message-1", service="web", by="ada", reason="new disks") for _ in range(2)]

    assert [answer["intake"] for answer in answers] == ["opened", "duplicate"]
    assert audits(world, "trigger_requested") == [("ada", answers[0]["recovery_id"], "new disks")]


def test_who_asked_for_its_end_is_in_the_audit_trail_and_one_who_does_not_say_is_somebody(world: World) -> None:
    recovery_id = call(intake.trigger, "message-1", service="web")["recovery_id"]

    call(intake.cancel, "message-2", recovery_id=recovery_id, by="grace", reason="mine")
    call(intake.cancel, "message-3", recovery_id=recovery_id, by="grace", reason="too late: it is closed")

    assert audits(world, "trigger_requested") == [("somebody", recovery_id, "")]
    assert audits(world, "cancel_requested") == [("grace", recovery_id, "mine")]
