"""A part of the platform dies, freezes or is sent too much in the middle of a recovery: it is finished, and takes effect exactly once."""

import signal
import time

import pytest

from recovery.models import AttemptState, Outcome, RecoveryState, utcnow
from tests.acceptance.faults import assert_finished_with_one_start, in_the_middle_of, mains, pool_child_at_work_on
from tests.stage import Stage
from tests.support import eventually, freeze, is_dead

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("step", ["stop", "ready"])
@pytest.mark.parametrize("victim", ["pool child", "whole worker"])
def test_fault_01_a_restart_survives_the_death_of_its_worker(stage: Stage, victim: str, step: str) -> None:
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


def test_fault_02_a_message_that_dies_with_a_frozen_worker_is_sent_again(stage: Stage) -> None:
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


def test_fault_07_a_remedy_whose_process_is_killed_every_time_is_given_up_and_its_worker_lives(stage: Stage) -> None:
    before = mains(stage)
    recovery = in_the_middle_of(stage, "ready")
    for run in (1, 2, 3):
        eventually(lambda run=run: stage.store.attempts(recovery.id)[0].runs == run, 60, stage.tail)  # type: ignore[misc]
        child = pool_child_at_work_on(stage, "anvil")
        child.kill()
        eventually(lambda child=child: is_dead(child.pid))  # type: ignore[misc]

    closed = stage.closed("anvil", recovery.created_at, within=90)
    assert (closed.id, closed.state) == (recovery.id, RecoveryState.FAILED)
    (attempt,) = stage.story(closed).attempts
    assert (attempt.state, attempt.runs) == (AttemptState.FINISHED, 3)
    assert attempt.reason.startswith("restart lost its worker 3 times")
    assert "ready (begun" in attempt.reason, "it tells how far it came"
    assert "needs a person" in stage.story(closed).decisions[-1].decision.reason
    assert mains(stage) == before


def test_fault_08_copies_of_a_message_that_come_while_it_is_at_work_are_fenced_off(stage: Stage) -> None:
    starts = stage.patients["anvil"].starts
    recovery = in_the_middle_of(stage, "ready")

    for _copy in range(3):
        stage.send("strategy.restart", to="restart", service="anvil", recovery_id=recovery.id, attempt=1)
    # it comes after the copies
    stage.send("maintenance.canary", to="restart", queue="restart", sent_at=(sent := time.time()))
    eventually(lambda: (pulse := stage.store.pulses().get("canary:restart")) is not None and pulse.at.timestamp() >= sent, 60)
    stage.patients["anvil"].release()

    assert_finished_with_one_start(stage, recovery, starts)
    assert stage.story(recovery).attempts[0].runs == 1


def test_fault_09_a_worker_that_was_only_frozen_can_do_nothing_once_another_one_has_its_lease(stage: Stage) -> None:
    starts, mark = stage.patients["anvil"].starts, len(stage.tail())
    recovery = in_the_middle_of(stage, "stop")
    child = pool_child_at_work_on(stage, "anvil")

    freeze(child.pid)
    stage.patients["anvil"].release()
    closed = assert_finished_with_one_start(stage, recovery, starts)
    child.send_signal(signal.SIGCONT)

    eventually(lambda: "attempt.abandoned service=anvil" in stage.tail()[mark:], 60, stage.tail)
    assert stage.store.recovery(closed.id) == closed
    assert stage.patients["anvil"].starts == starts + 1
