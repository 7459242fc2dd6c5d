"""What the holder of a lease writes, and that nobody else can."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from recovery.errors import LeaseLost
from recovery.models import Attempt, AttemptState, Lease, Outcome, Recovery, RecoveryState, StepState
from recovery.ports import Store
from tests.rows import at, attempt, failure, lease_for, recovery, step


@pytest.fixture
def started(store: Store) -> Recovery:
    """A recovery in progress whose first attempt is queued."""
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])
    result = store.transition(opened, replace(opened, state=RecoveryState.IN_PROGRESS, attempt=1, due_at=at(30)), attempt=attempt(opened))
    assert result is not None
    return result


def test_beginning_marks_the_attempt_as_running_under_the_lease(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started, until=12)

    running = store.begin_attempt(lease, 1, at(2))

    assert running == replace(attempt(started), state=AttemptState.RUNNING, started_at=at(2), fence=1, runs=1)
    assert store.attempts(started.id) == [running]
    assert store.recovery(started.id) == replace(started, due_at=at(12), version=started.version + 1)


def test_a_successor_takes_the_attempt_up_and_keeps_its_start(store: Store, started: Recovery) -> None:
    store.begin_attempt(lease_for(store, started, "lost"), 1, at(1))

    successor = lease_for(store, started, "next", now=10, until=20)
    running = store.begin_attempt(successor, 1, at(11))

    assert (running.runs, running.fence, running.started_at) == (2, 2, at(1))


def test_an_attempt_that_is_over_is_not_begun_again(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started)
    running = store.begin_attempt(lease, 1, at(1))
    store.finish_attempt(lease, replace(running, state=AttemptState.FINISHED, outcome=Outcome.RESOLVED, finished_at=at(2)), [], at(2))
    before = store.attempts(started.id)

    with pytest.raises(LeaseLost, match="attempt 1"):
        store.begin_attempt(lease, 1, at(3))
    with pytest.raises(LeaseLost, match="attempt 2"):
        store.begin_attempt(lease, 2, at(3))

    assert store.attempts(started.id) == before


def test_no_attempt_of_a_closed_recovery_is_begun(store: Store, started: Recovery) -> None:
    store.transition(started, replace(started, state=RecoveryState.CANCELLED, due_at=None))

    with pytest.raises(LeaseLost):
        store.begin_attempt(lease_for(store, started), 1, at(1))


def test_steps_are_journaled_before_and_after(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started)
    store.begin_attempt(lease, 1, at(0))
    first, second = step(started, 0, intent={"pid": 12}), step(started, 1)
    done = replace(first, state=StepState.FINISHED, finished_at=at(2), result={"pid": 13}, reconciled=True)

    store.journal(lease, second)
    store.journal(lease, first)
    store.journal(lease, done)

    assert store.steps(started.id) == [done, second]
    assert store.steps(started.id, attempt=1) == [done, second]
    assert store.steps(started.id, attempt=2) == []
    assert store.steps("unknown") == []


def test_finishing_stores_the_attempt_and_makes_its_recovery_due(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started)
    running = store.begin_attempt(lease, 1, at(1))
    finished = replace(running, state=AttemptState.FINISHED, outcome=Outcome.INEFFECTIVE, finished_at=at(4), reason="still sick")

    store.finish_attempt(lease, finished, [], at(4))

    assert store.attempts(started.id) == [finished]
    assert store.due(at(4), 10) == [started.id]


def test_finishing_leaves_a_closed_recovery_closed(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started)
    running = store.begin_attempt(lease, 1, at(1))
    current = store.recovery(started.id)
    assert current is not None
    closed = store.transition(current, replace(current, state=RecoveryState.CANCELLED, due_at=None, finished_at=at(3)))

    store.finish_attempt(lease, replace(running, state=AttemptState.FINISHED, finished_at=at(4)), [], at(4))

    assert store.recovery(started.id) == closed
    assert store.due(at(99), 10) == []


def test_a_decision_on_what_was_read_before_an_attempt_began_or_finished_is_refused(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started)
    running = store.begin_attempt(lease, 1, at(1))
    assert store.transition(started, replace(started, reason="lost, so skip it")) is None

    current = store.recovery(started.id)
    assert current is not None
    store.finish_attempt(lease, replace(running, state=AttemptState.FINISHED), [], at(2))

    assert store.transition(current, replace(current, due_at=at(500))) is None


def test_an_attempt_that_is_handed_back_can_be_taken_up_at_once_and_does_not_count_the_run(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started)
    store.begin_attempt(lease, 1, at(1))
    current = store.recovery(started.id)
    assert current is not None

    store.hand_back(lease, 1, at(2))

    assert store.lease_of(started.service) is None
    assert store.attempts(started.id)[0].runs == 0
    assert store.transition(current, replace(current, due_at=at(500))) is None, "what was read before is out of date"
    assert store.begin_attempt(lease_for(store, started, "successor", now=2, until=12), 1, at(2)).runs == 1


def test_a_claim_is_handed_back_without_touching_an_attempt_that_has_ended(store: Store, started: Recovery) -> None:
    lease = lease_for(store, started)
    running = store.begin_attempt(lease, 1, at(1))
    finished = replace(running, state=AttemptState.FINISHED, outcome=Outcome.RESOLVED, finished_at=at(2))
    store.finish_attempt(lease, finished, [], at(2))

    store.hand_back(lease, 1, at(2))

    assert store.attempts(started.id) == [finished]
    assert store.lease_of(started.service) is None


def _begin(store: Store, lease: Lease, row: Recovery, _running: Attempt) -> None:
    store.begin_attempt(lease, 1, at(12))


def _journal(store: Store, lease: Lease, row: Recovery, _running: Attempt) -> None:
    store.journal(lease, step(row, 0, name="stale"))


def _finish(store: Store, lease: Lease, row: Recovery, running: Attempt) -> None:
    store.finish_attempt(lease, replace(running, state=AttemptState.FINISHED, outcome=Outcome.RESOLVED), [], at(12))


def _hand_back(store: Store, lease: Lease, row: Recovery, _running: Attempt) -> None:
    store.hand_back(lease, 1, at(12))


FENCED: list[Callable[[Store, Lease, Recovery, Attempt], None]] = [_begin, _journal, _finish, _hand_back]


@pytest.mark.parametrize("write", FENCED)
@pytest.mark.parametrize("lost_by", ["takeover", "release", "forgery"])
def test_a_stale_fence_writes_nothing(store: Store, started: Recovery, write: Callable[..., None], lost_by: str) -> None:
    lease = lease_for(store, started)
    running = store.begin_attempt(lease, 1, at(0))
    if lost_by == "takeover":
        lease_for(store, started, "successor", now=11, until=20)
    elif lost_by == "release":
        store.release_lease(lease)
    else:
        lease = replace(lease, fence=lease.fence + 1)
    before = (store.recovery(started.id), store.attempts(started.id), store.steps(started.id))

    with pytest.raises(LeaseLost):
        write(store, lease, started, running)

    assert (store.recovery(started.id), store.attempts(started.id), store.steps(started.id)) == before


def test_attempts_of_a_service_come_oldest_first_since_a_moment(store: Store) -> None:
    rows = []
    for moment in (0, 10, 20):
        opened = recovery(created_at=at(moment))
        store.open_recovery(opened, None, [], [])
        rows.append(attempt(opened))
        store.transition(opened, replace(opened, state=RecoveryState.FAILED, due_at=None), attempt=rows[-1])
    elsewhere = recovery("cart")
    store.open_recovery(elsewhere, None, [], [])
    store.transition(elsewhere, elsewhere, attempt=attempt(elsewhere))

    assert store.attempts_of("shop", at(10)) == rows[1:]
    assert store.attempts_of("shop", at(0)) == rows
    assert store.attempts_of("shop", at(20.000001)) == []
