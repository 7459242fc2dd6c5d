"""The same by message: approve, silence and lift as tasks; a message that comes twice changes nothing, a wrong one is a sentence."""

from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from recovery.errors import ApprovalRefused, PauseUnchanged, RecoveryError, SilenceInvalid
from recovery.models import RecoveryState, SilenceKind, utcnow
from tests.world import World
from workers.tasks import policy

Call = Callable[..., Any]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World("restart", autonomy="approve", labels={"team": "payments"})
    world.now = utcnow()
    parts = SimpleNamespace(store=world.store, fleet=lambda: world.fleet, coordinator=world.coordinator)
    monkeypatch.setattr(policy, "platform", lambda: parts)
    monkeypatch.setattr(policy, "obey", lambda _directive: None)
    return world


def call(task: Any, task_id: str | None = None, **kwargs: Any) -> Any:
    """Run a task as a worker would, and return what it returns or raise what it raises."""
    return task.apply(kwargs=kwargs, task_id=task_id).get()


def test_an_approval_by_message_lets_the_recovery_begin_and_counts_once(world: World) -> None:
    recovery_id = world.report()
    world.advance(recovery_id)
    yes = {"recovery_id": recovery_id, "by": "ada", "comment": "go"}

    answers = [call(policy.approve, **yes) for _ in range(2)]

    assert answers == [{"recovery_id": recovery_id, "answer": "approved", "by": "ada", "comment": "go"}] * 2
    begun = world.store.recovery(recovery_id)
    assert begun is not None
    assert begun.state is RecoveryState.IN_PROGRESS
    with pytest.raises(ApprovalRefused, match="was approved by ada"):
        call(policy.approve, recovery_id=recovery_id, by="bob", approve=False)


def test_a_silence_by_message_is_one_however_often_the_message_comes(world: World) -> None:
    wish = {"by": "ci", "reason": "load test", "seconds": 60, "services": ["web"]}

    first = call(policy.silence, "message-1", **wish)
    second = call(policy.silence, "message-1", **wish)

    assert first == second
    assert (first["kind"], first["services"]) == ("silence", ["web"])
    assert len(world.store.silences(utcnow())) == 1
    assert call(policy.lift, silence_id=first["id"], by="ci") == {"id": first["id"], "kind": "silence", "by": "ci"}
    assert world.store.silences(utcnow()) == []


def test_the_kill_switch_goes_on_and_off_by_message(world: World) -> None:
    on = call(policy.silence, by="ci", reason="network work", kind="kill_switch")

    assert (on["kind"], on["until"]) == (str(SilenceKind.KILL_SWITCH), None)
    with pytest.raises(PauseUnchanged, match="paused already by ci"):
        call(policy.silence, by="ci", reason="again", kind="kill_switch")
    assert call(policy.lift, silence_id=on["id"], by="ci")["kind"] == "kill_switch"


def test_a_window_may_be_given_by_its_times_and_labels(world: World) -> None:
    begins, ends = utcnow() + timedelta(hours=1), utcnow() + timedelta(hours=2)

    put = call(policy.silence, by="ci", reason="audit", labels={"team": "payments"}, since=begins.isoformat(), until=ends.isoformat())

    assert (put["since"], put["until"], put["labels"]) == (begins.isoformat(), ends.isoformat(), {"team": "payments"})


@pytest.mark.parametrize(
    ("fields", "kind", "sentence"),
    [
        ({"seconds": 60, "until": "2030-01-01T00:00Z"}, SilenceInvalid, "say either 'seconds' or 'until'"),
        ({}, SilenceInvalid, "say either 'seconds' or 'until'"),
        ({"until": "tomorrow"}, SilenceInvalid, "'until' must be a date and time"),
        ({"until": "2030-01-01T00:00"}, SilenceInvalid, "'until' needs a zone"),
        ({"seconds": 1e300}, SilenceInvalid, "'seconds' must be a number of seconds"),
        ({"seconds": 60, "kind": "sillence"}, SilenceInvalid, "unknown kind 'sillence', did you mean 'silence'? (known:"),
        ({"seconds": "60"}, RecoveryError, "wrong arguments: 'seconds'"),
        ({"seconds": 60, "service": "web"}, RecoveryError, "wrong arguments"),
    ],
)
def test_a_wrong_message_is_one_sentence_and_no_silence(
    world: World, fields: dict[str, Any], kind: type[RecoveryError], sentence: str
) -> None:
    with pytest.raises(kind) as refused:
        call(policy.silence, **{"by": "ci", "reason": "x", "services": ["web"]} | fields)

    assert sentence in refused.value.message
    assert world.store.silences(utcnow()) == []
