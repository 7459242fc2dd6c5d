"""Parts of the platform die in the middle of a recovery: it is finished all the same, and the service is started exactly once."""

import signal

import psutil
import pytest

from recovery.models import AttemptState, Outcome, Recovery, StepState, utcnow
from tests.stage import Stage
from tests.support import eventually, freeze, is_dead

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def in_the_middle_of(stage: Stage, step: str) -> Recovery:
    """Make the anvil ill, and return when its restart is at `step` (`stop` or `ready`), which lasts until the anvil is released."""
    since = utcnow()
    stage.patients["anvil"].hold("boot" if step == "ready" else step)
    stage.patients["anvil"].ail("500")
    recovery = stage.opened("anvil", since)

    def at_work() -> bool:
        return any(row.name == step and row.state is StepState.STARTED for row in stage.store.steps(recovery.id))

    eventually(at_work, message=lambda: stage.tail(30))
    return recovery


def pool_child_at_work_on(stage: Stage, service: str) -> psutil.Process:
    """Return the process that holds the lease on `service`, which the lease names."""
    lease = stage.store.lease_of(service)
    assert lease is not None
    child = psutil.Process(int(lease.holder.split(":")[1]))
    assert child.parent() == stage.part("recover")
    return child


def assert_finished_with_one_start(stage: Stage, recovery: Recovery, starts: int) -> Recovery:
    closed = stage.closed("anvil", recovery.created_at, within=90)
    stage.await_healthy("anvil")
    assert (closed.id, closed.outcome) == (recovery.id, Outcome.RESOLVED)
    assert stage.patients["anvil"].starts == starts + 1
    assert stage.patients["anvil"].answers() == 200
    assert len(stage.history.recoveries(service="anvil", since=recovery.created_at)) == 1
    return closed


@pytest.mark.parametrize("step", ["stop", "ready"])
@pytest.mark.parametrize("victim", ["pool child", "whole worker"])
def test_a_restart_survives_the_death_of_its_worker(stage: Stage, victim: str, step: str) -> None:
    starts = stage.patients["anvil"].starts
    recovery = in_the_middle_of(stage, step)
    child = pool_child_at_work_on(stage, "anvil")

    (child if victim == "pool child" else stage.part("recover")).kill()
    stage.patients["anvil"].release()

    closed = assert_finished_with_one_start(stage, recovery, starts)
    story = stage.story(closed)
    (attempt,) = story.attempts
    assert (attempt.state, attempt.runs) == (AttemptState.FINISHED, 2), "the history tells that one worker was lost"
    steps = {row.name: row for row in story.steps}
    assert [row.name for row in story.steps] == ["stop", "start", "ready", "verify"]
    assert steps["verify"].fence > (steps["start"].fence if step == "ready" else 0)


@pytest.mark.parametrize("victim", ["beat", "intake", "health", "valkey"])
def test_a_restart_survives_the_death_of_any_other_part(stage: Stage, victim: str) -> None:
    if victim == "valkey" and not stage.settings.embedded:
        pytest.skip("the Redis of RECOVERY_TEST_REDIS is not ours to kill")
    starts = stage.patients["anvil"].starts
    recovery = in_the_middle_of(stage, "stop")
    part = stage.part(victim)

    part.kill()
    eventually(lambda: is_dead(part.pid))
    stage.patients["anvil"].release()

    assert_finished_with_one_start(stage, recovery, starts)
    eventually(lambda: stage.part(victim).pid != part.pid, within=60)
    web, since = stage.patients["web"], utcnow()
    eventually(lambda: stage.store.service_states()["web"].seen_at > since, within=60)  # type: ignore[operator]
    web.kill()
    assert stage.closed("web", since, within=90).outcome is Outcome.RESOLVED, "and the platform is whole again"


def test_a_message_that_dies_with_a_frozen_worker_is_sent_again(stage: Stage) -> None:
    """Celery's Redis transport takes a message off its queue before it notes that it has it."""
    web, since = stage.patients["web"], utcnow()
    starts, worker = web.starts, stage.part("recover")

    freeze(worker.pid)
    stage.send("recovery.trigger", service="web", strategy="restart")
    recovery = stage.opened("web", since)
    eventually(
        lambda: [attempt.state for attempt in stage.store.attempts(recovery.id)] == [AttemptState.QUEUED],
        message=lambda: f"{stage.store.attempts(recovery.id)}\n{stage.tail(60)}",
    )
    worker.kill()

    assert stage.closed("web", since, within=90).outcome is Outcome.RESOLVED
    assert web.starts == starts + 1


def test_a_worker_that_was_only_frozen_can_do_nothing_once_another_one_has_its_lease(stage: Stage) -> None:
    starts = stage.patients["anvil"].starts
    recovery = in_the_middle_of(stage, "stop")
    child = pool_child_at_work_on(stage, "anvil")

    freeze(child.pid)
    stage.patients["anvil"].release()
    closed = assert_finished_with_one_start(stage, recovery, starts)
    child.send_signal(signal.SIGCONT)

    eventually(lambda: "attempt.abandoned service=anvil" in stage.tail())
    assert stage.store.recovery(closed.id) == closed
    assert stage.patients["anvil"].starts == starts + 1
