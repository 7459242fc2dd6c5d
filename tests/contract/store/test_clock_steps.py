"""A clock that is set back or forward by minutes freezes nothing and triggers nothing twice."""

from dataclasses import replace

import pytest

from recovery.models import CheckState, RecoveryState, ServiceState, Status
from recovery.ports import Intake, Store
from tests.rows import at, attempt, failure, lease_for, recovery

BACK = -300.0
"""Where the clock stands after it was set back at 0."""


def test_what_a_clock_that_ran_ahead_put_off_is_due(store: Store) -> None:
    waits = recovery("shop")
    honest = recovery("cart", created_at=at(BACK - 9), due_at=at(60))
    for row in (waits, honest):
        store.open_recovery(row, None, [], [])
    store.transition(waits, replace(waits, due_at=at(30)), now=at(0))

    assert store.due(at(-4), 10) == []
    assert store.due(at(BACK), 10) == [waits.id]

    current = store.recovery(waits.id)
    assert current is not None
    store.transition(current, replace(current, due_at=at(BACK + 30)), now=at(BACK))
    assert store.due(at(BACK), 10) == []
    assert store.due(at(BACK + 30), 10) == [waits.id]


def test_what_was_opened_or_begun_by_a_clock_that_ran_ahead_is_due(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])
    assert store.due(at(BACK), 10) == [opened.id]

    queued = store.transition(opened, replace(opened, state=RecoveryState.IN_PROGRESS, attempt=1), attempt=attempt(opened), now=at(BACK))
    assert queued is not None
    store.begin_attempt(lease_for(store, queued, now=0, until=10), 1, at(0))
    assert store.due(at(BACK), 10) == [opened.id]


def test_a_lease_that_seems_to_last_for_minutes_is_over_and_its_holder_fenced_off(store: Store) -> None:
    first = store.acquire_lease("shop", "r-1", "before", at(0), at(10))
    assert first is not None

    assert store.acquire_lease("shop", "r-1", "a little back", at(-19), at(-9)) is None
    second = store.acquire_lease("shop", "r-1", "far back", at(BACK), at(BACK + 10))

    assert second is not None
    assert second.fence == first.fence + 1
    assert not store.holds(first)


def test_a_claim_of_no_length_does_not_take_a_live_lease(store: Store) -> None:
    store.acquire_lease("shop", "r-1", "worker", at(0), at(10))

    assert store.acquire_lease("shop", "r-1", "coordinator", at(5), at(5)) is None
    assert store.acquire_lease("shop", "r-1", "coordinator", at(10), at(10)) is not None


def test_a_renewed_lease_keeps_its_length(store: Store) -> None:
    lease = lease_for(store, recovery(), now=0, until=10)
    store.renew_lease(lease, at(500))

    assert store.acquire_lease("shop", "r-1", "other", at(495), at(505)) is None
    assert store.acquire_lease("shop", "r-1", "other", at(200), at(210)) is not None


def test_a_clock_that_went_forward_ends_a_lease_early_and_the_fence_protects(store: Store) -> None:
    lease = lease_for(store, recovery(), now=0, until=10)

    assert store.acquire_lease("shop", "r-1", "other", at(300), at(310)) is not None
    assert not store.holds(lease)


def test_a_quiet_that_seems_to_last_for_minutes_is_over(store: Store) -> None:
    closed = recovery(state=RecoveryState.FAILED, quiet_until=at(60), finished_at=at(0), due_at=None)
    store.open_recovery(closed, failure(), [], [])

    assert closed.fingerprint in store.busy(at(-100))
    assert closed.fingerprint not in store.busy(at(BACK))
    assert store.open_recovery(recovery(created_at=at(-100)), failure(), [], []).intake is Intake.MERGED
    assert store.open_recovery(recovery(created_at=at(BACK)), failure(), [], []).intake is Intake.OPENED


def test_observations_are_believed_after_the_clock_was_set_back(store: Store) -> None:
    before = CheckState("shop", "http", Status.UNHEALTHY, failures=3, at=at(0), first_failure_at=at(-1))
    known = ServiceState("shop", Status.UNHEALTHY, since=at(-1), seen_at=at(0), started_at=at(-9), stable_since=at(-9))
    store.record_sweep([], [before], [known], [], now=at(0))

    seen = CheckState("shop", "http", Status.UNHEALTHY, failures=4, at=at(BACK), first_failure_at=at(-1))
    state = replace(known, status=Status.HEALTHY, seen_at=at(BACK))
    store.record_sweep([], [seen], [state], [], now=at(BACK))

    moment = at(BACK)
    assert store.check_states(["shop"]) == {("shop", "http"): replace(seen, first_failure_at=moment)}
    assert store.service_states() == {"shop": replace(state, since=moment, started_at=moment, stable_since=moment)}


def test_a_late_sweep_is_still_late(store: Store) -> None:
    store.record_sweep(
        [], [CheckState("shop", "http", at=at(0), failures=2)], [ServiceState("shop", seen_at=at(0), score=5)], [], now=at(0)
    )

    store.record_sweep([], [CheckState("shop", "http", at=at(-40))], [ServiceState("shop", seen_at=at(-40))], [], now=at(1))

    assert store.check_states(["shop"])["shop", "http"].failures == 2
    assert store.service_states()["shop"].score == 5


def test_a_start_that_lies_in_the_future_is_moved_back(store: Store) -> None:
    store.mark_started("shop", at(0))
    store.mark_started("shop", at(BACK))

    assert store.service_states()["shop"].started_at == at(BACK)


@pytest.mark.parametrize("step", [BACK, 300.0])
def test_a_sweep_runs_once_after_the_clock_was_stepped(store: Store, step: float) -> None:
    assert store.claim_sweep("60s:0", at(0), 60.0)

    assert store.claim_sweep("60s:0", at(step), 60.0)
    assert not store.claim_sweep("60s:0", at(step + 1), 60.0)
