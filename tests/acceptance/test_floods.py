"""Too much on one queue, or remedies that take long: the others are worked on as if nothing were."""

import json

import pytest

from recovery.models import Outcome, Status, StepState, utcnow
from tests.acceptance.faults import ours_to_break
from tests.stage import Stage
from tests.support import eventually, freeze

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FLOOD = 20_000
"""Far more than is worked off while a service is recovered, however slow the machine; the rest is thrown away."""


def flood(stage: Stage, queue: str, task: str, arguments: dict[str, object]) -> None:
    """Let so many messages be there at once: their worker stands still while they are written."""
    worker, key = stage.part("recover" if queue == "cache_rebuild" else "intake"), f"recovery:celery:{queue}"
    freeze(worker.pid)
    try:
        for _message in range(2):  # a read that had begun takes the first
            stage.send(task, to=queue, **arguments)
        eventually(lambda: waiting(stage, queue))
        message = json.loads(stage.redis.lindex(key, 0))  # type: ignore[arg-type]
        copies = []
        for number in range(FLOOD):
            message["headers"]["id"] = message["properties"]["delivery_tag"] = f"{queue}-{number}"
            copies.append(json.dumps(message))
        stage.redis.lpush(key, *copies)
    finally:
        worker.resume()


def waiting(stage: Stage, queue: str) -> int:
    return int(stage.redis.llen(f"recovery:celery:{queue}"))


@ours_to_break
@pytest.mark.parametrize(
    ("queue", "task", "arguments"),
    [
        ("cache_rebuild", "strategy.cache_rebuild", {"service": "shadow", "recovery_id": "of nobody", "attempt": 1}),
        ("failures", "recovery.report_failure", {"service": "shadow", "category": "service_unavailable"}),
    ],
)
def test_a_flood_on_one_queue_does_not_delay_the_recovery_of_another(
    stage: Stage, queue: str, task: str, arguments: dict[str, object]
) -> None:
    flood(stage, queue, task, arguments)
    since = utcnow()

    stage.patients["web"].kill()
    recovery = stage.closed("web", since)

    assert recovery.outcome is Outcome.RESOLVED
    assert waiting(stage, queue) > 0, "it did not wait for the end of the flood"
    stage.redis.delete(f"recovery:celery:{queue}")


def test_remedies_that_take_long_on_one_queue_leave_processes_for_another(stage: Stage) -> None:
    """By hand, for the action budget would let only one of six services be recovered at once."""
    since, held = utcnow(), ("anvil", "web")
    for name in held:
        stage.patients[name].hold("boot")
        stage.send("recovery.trigger", service=name, strategy="restart")
    slow = [stage.opened(name, since) for name in held]
    for recovery in slow:
        eventually(lambda each=recovery: at_ready(stage, each.id), 60, stage.tail)  # type: ignore[misc]

    stage.send("recovery.trigger", service="search", strategy="degrade")
    degraded = stage.closed("search", since)

    assert degraded.outcome is Outcome.MITIGATED
    assert all(at_ready(stage, recovery.id) for recovery in slow), "both are at work still"
    stage.patients["search"].ail("500!")  # what mitigates a service that was well all along is not taken away before its time
    eventually(lambda: stage.store.service_states()["search"].status is Status.UNHEALTHY, 60)
    for name in (*held, "search"):
        stage.patients[name].heal()
    eventually(lambda: not stage.store.mitigations(), 90, stage.tail)


def at_ready(stage: Stage, recovery_id: str) -> bool:
    return any(step.name == "ready" and step.state is StepState.STARTED for step in stage.store.steps(recovery_id))
