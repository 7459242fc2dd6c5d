"""The history tells one recovery's story, the figures with their denominators, and forgets only what may go."""

import shutil
from collections.abc import Iterator
from dataclasses import astuple, replace
from datetime import datetime
from pathlib import Path

import pytest

from recovery.history import Held, History, Rate, RefusedReport, Spread
from recovery.history.figures import percentile
from recovery.models import (
    AttemptState,
    Choice,
    Kind,
    Mitigation,
    Outcome,
    Recovery,
    RecoveryState,
    Sample,
    ServiceState,
    Status,
    StepState,
)
from recovery.store.engine import open_engine
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.rows import T0, at, attempt, decision, event, failure, lease_for, recovery, step


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "history.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(migrated: Path, tmp_path: Path) -> Iterator[SqlStore]:
    shutil.copy(migrated, tmp_path / "history.db")
    store = SqlStore(open_engine(f"sqlite:///{tmp_path / 'history.db'}"))
    yield store
    store.engine.dispose()


@pytest.fixture
def history(store: SqlStore) -> History:
    return History(store.engine)


def lived(
    store: SqlStore,
    service: str = "shop",
    *,
    evidence: float = 0,
    created: float = 1,
    ended: float = 11,
    strategy: str = "restart",
    state: RecoveryState = RecoveryState.SUCCEEDED,
    outcome: Outcome | None = Outcome.RESOLVED,
    acts: bool = True,
    **fields: object,
) -> Recovery:
    """Store one recovery from its report to its end, as the engine does."""
    row = recovery(service, created_at=at(created), first_evidence_at=at(evidence), **fields)
    store.open_recovery(row, failure(service, occurred_at=at(evidence)), [], [])
    current = store.transition(row, replace(row, state=RecoveryState.IN_PROGRESS, attempt=1), attempt=attempt(row, strategy=strategy))
    if acts:
        lease = lease_for(store, row, now=created, until=ended + 10)
        running = store.begin_attempt(lease, 1, at(created))
        store.finish_attempt(lease, replace(running, state=AttemptState.FINISHED, outcome=outcome, finished_at=at(ended)), [], at(ended))
        store.release_lease(lease)
        current = store.recovery(row.id)
    assert current is not None
    closed = store.transition(current, replace(current, state=state, outcome=outcome, finished_at=at(ended), due_at=None))
    assert closed is not None
    return closed


def test_services_show_their_state_and_what_is_being_done(store: SqlStore, history: History) -> None:
    store.record_sweep([], [], [ServiceState("shop", Status.UNHEALTHY, 0), ServiceState("cart", Status.HEALTHY)], [])
    opened = recovery("shop")
    store.open_recovery(opened, None, [], [])
    mitigation = Mitigation("search", "degrade", "r-9", at(0), at(60))
    other = lived(store, "other")
    store.transition(other, other, mitigation=mitigation)

    rows = {row.service: row for row in history.services()}

    assert list(rows) == ["cart", "search", "shop"]
    assert rows["cart"].recovery is None
    assert (rows["shop"].state.status, rows["shop"].recovery) == (Status.UNHEALTHY, opened)
    assert (rows["search"].state.status, rows["search"].mitigations) == (Status.UNKNOWN, (mitigation,))


def test_recoveries_are_filtered_and_come_newest_first(store: SqlStore, history: History) -> None:
    old = lived(store, created=1, ended=2)
    failed = lived(store, created=10, ended=20, state=RecoveryState.FAILED, outcome=Outcome.INEFFECTIVE)
    elsewhere = lived(store, "cart", created=5)
    opened = recovery("cart", created_at=at(30))
    store.open_recovery(opened, None, [], [])

    assert history.recoveries() == [opened, failed, elsewhere, old]
    assert history.recoveries(limit=2) == [opened, failed]
    assert history.recoveries(service="shop") == [failed, old]
    assert history.recoveries(outcome=Outcome.RESOLVED) == [elsewhere, old]
    assert history.recoveries(state=RecoveryState.PENDING) == [opened]
    assert history.recoveries(since=at(10), service="cart") == [opened]


def test_a_story_has_every_part_in_order(store: SqlStore, history: History) -> None:
    row, report, second = recovery(), failure(), failure(message="still down", occurred_at=at(1))
    chosen = decision(choice=Choice.ACT, guard="planner", recovery_id=row.id)
    store.open_recovery(row, report, [chosen], [event("recovery:opened", recovery_id=row.id)])
    store.open_recovery(recovery(), second, [], [])
    first = attempt(row)
    store.transition(row, replace(row, state=RecoveryState.IN_PROGRESS, attempt=1), attempt=first, events=[event(recovery_id=row.id)])
    lease = lease_for(store, row)
    running = store.begin_attempt(lease, 1, at(2))
    journaled = step(row, state=StepState.FINISHED, result={"pid": 7})
    store.journal(lease, journaled)
    store.record([decision("shop", guard="elsewhere")], [event("service:degraded")])

    story = history.story(row.id[:8])

    assert story is not None
    assert story.recovery.failures == 2
    assert story.failures == (report, second)
    assert story.attempts == (running,)
    assert story.steps == (journaled,)
    assert [noted.decision.guard for noted in story.decisions] == ["planner", "one_open_recovery"]
    assert [noted.event.name for noted in story.events] == ["recovery:opened", "recovery:started"]
    assert history.failures(row.id) == [report, second]


def test_an_unknown_recovery_has_no_story(history: History) -> None:
    assert history.story("00000000") is None


def test_why_lists_decisions_newest_first_with_their_repeats(store: SqlStore, history: History) -> None:
    for second in range(3):
        store.record([decision(at=at(second))])
    store.record([decision(guard="attempt_cap", at=at(9))])
    store.record([decision("cart")])

    found = history.decisions("shop")

    assert [(noted.decision.guard, noted.repeats, noted.last_at) for noted in found] == [("attempt_cap", 0, None), ("cooldown", 2, at(2))]
    assert found[1].decision == decision(at=at(0))
    assert history.decisions("shop", limit=1) == found[:1]


def test_events_are_followed_by_number_even_after_pruning(store: SqlStore, history: History) -> None:
    assert history.last_event_id() == 0
    store.record(events=[event("one"), event("two")])
    seen = history.last_event_id()
    history.prune(samples_before=at(9), history_before=at(9))
    store.record(events=[event("three", at=at(10)), event("four", at=at(10))])

    assert [noted.event.name for noted in history.events_after(seen)] == ["three", "four"]
    assert [noted.event.name for noted in history.events_after(seen, limit=1)] == ["three"]
    assert history.events_after(history.last_event_id()) == []


def test_success_is_counted_of_those_that_acted(store: SqlStore, history: History) -> None:
    lived(store)
    lived(store, outcome=Outcome.MITIGATED, strategy="degrade")
    lived(store, state=RecoveryState.FAILED, outcome=Outcome.INEFFECTIVE)
    lived(store, state=RecoveryState.SUPPRESSED, outcome=None, acts=False)
    lived(store, state=RecoveryState.CANCELLED, outcome=None, acts=False)
    lived(store, "cart", state=RecoveryState.FAILED, outcome=Outcome.FAILED)
    lived(store, "cart", kind=Kind.SCHEDULED)
    lived(store, "cart", dry_run=True)
    store.open_recovery(recovery("cart"), None, [], [])

    stats = history.stats(at(0), at(60))

    assert stats.success == Rate(2, 4)
    assert stats.success.share == 0.5
    assert stats.outcomes == {"resolved": 1, "mitigated": 1, "ineffective": 1, "suppressed": 1, "cancelled": 1, "failed": 1}
    assert (stats.suppressed, stats.restores, stats.dry_runs, stats.open_now) == (1, 1, 1, 1)
    assert {row.service: (row.closed, row.success, row.suppressed) for row in stats.services} == {
        "shop": (5, Rate(2, 3), 1),
        "cart": (1, Rate(0, 1), 0),
    }
    assert {row.strategy: row.success for row in stats.strategies}["degrade"] == Rate(1, 1)


def test_times_are_measured_from_the_first_evidence(store: SqlStore, history: History) -> None:
    lived(store, "shop", evidence=0, created=2, ended=10)
    lived(store, "cart", evidence=0, created=4, ended=30, strategy="degrade", outcome=Outcome.MITIGATED)
    lived(store, "search", evidence=0, created=6, ended=50, state=RecoveryState.FAILED, outcome=Outcome.FAILED)

    stats = history.stats(at(0), at(60))

    assert stats.detection is not None
    assert astuple(stats.detection) == pytest.approx((3, 4.0, 4.0, 5.8))
    assert stats.recovery is not None
    assert astuple(stats.recovery) == pytest.approx((2, 20.0, 20.0, 29.0))
    by_strategy = {row.strategy: row for row in stats.strategies}
    assert by_strategy["restart"].recovery == Spread(1, 10.0, 10.0, 10.0)
    assert by_strategy["restart"].took == Spread(1, 8.0, 8.0, 8.0)
    assert by_strategy["degrade"].recovery == Spread(1, 30.0, 30.0, 30.0)


def test_an_outage_is_detected_once_however_many_recoveries_it_takes(store: SqlStore, history: History) -> None:
    lived(store, evidence=0, created=1, ended=5, state=RecoveryState.FAILED, outcome=Outcome.INEFFECTIVE)
    lived(store, evidence=0, created=20, ended=25, state=RecoveryState.FAILED, outcome=Outcome.INEFFECTIVE)
    lived(store, evidence=0, created=40, ended=45)
    lived(store, evidence=50, created=53, ended=55)
    lived(store, "cart", evidence=60, created=60, ended=61, dry_run=True)
    lived(store, "cart", evidence=60, created=62, ended=64)

    assert history.stats(at(0), at(70)).detection == Spread.of([1.0, 3.0, 2.0])
    assert history.stats(at(10), at(70)).detection == Spread.of([3.0, 2.0])


def test_who_gave_up_without_acting_is_counted_of_all_that_closed(store: SqlStore, history: History) -> None:
    lived(store)
    lived(store, state=RecoveryState.FAILED, outcome=Outcome.INEFFECTIVE)
    lived(store, state=RecoveryState.FAILED, outcome=Outcome.FAILED, acts=False)
    lived(store, state=RecoveryState.SUPPRESSED, outcome=None, acts=False)

    stats = history.stats(at(0), at(60))

    assert stats.gave_up == Rate(1, 4)
    assert stats.success == Rate(1, 2)


def test_refused_reports_come_newest_first(store: SqlStore, history: History) -> None:
    store.audit("report_refused", "stream", {"code": "FAILURE_INVALID", "reason": "not JSON", "report": "{"}, at(1))
    store.audit("cancelled", "operator", {}, at(2))
    store.audit("report_refused", "client", {"code": "SERVICE_NOT_FOUND", "reason": "no 'x'", "service": "x"}, at(3))
    newest = RefusedReport(at(3), "client", "SERVICE_NOT_FOUND", "no 'x'", "x")

    assert history.refused_reports() == [newest, RefusedReport(at(1), "stream", "FAILURE_INVALID", "not JSON")]
    assert history.refused_reports(limit=1) == [newest]
    assert history.refused_reports(since=at(2)) == [newest]


def test_only_what_closed_in_the_period_counts(store: SqlStore, history: History) -> None:
    lived(store, ended=10)
    lived(store, ended=20)

    assert history.stats(at(11), at(60)).success == Rate(1, 1)
    assert history.stats(at(30), at(60)).success == Rate(0, 0)
    assert history.stats(at(30), at(60)).success.share is None
    assert history.stats(at(30), at(60)).recovery is None


def test_what_was_held_back_is_counted_with_its_repeats(store: SqlStore, history: History) -> None:
    for second in range(3):
        store.record([decision(at=at(second))])
    store.record([decision(choice=Choice.SUPPRESS, guard="dry_run"), decision(choice=Choice.ACT, guard="planner")])

    assert history.stats(at(0), at(60)).held == (Held("delay", "cooldown", 3), Held("suppress", "dry_run", 1))


def test_availability_is_the_share_of_samples_that_passed(store: SqlStore, history: History) -> None:
    rows = [Sample("shop", "http", at(second), ok=second != 3, latency=0.01) for second in range(10)]
    store.record_sweep([*rows, Sample("shop", "http", at(99), ok=False, latency=0.0)], [], [], [])

    found = history.availability(at(0), at(60))

    assert [(row.service, row.passed, row.passed.share) for row in found] == [("shop", Rate(9, 10), 0.9)]
    assert history.stats(at(0), at(60)).services[0].availability == Rate(9, 10)


def test_an_estimate_is_the_median_of_the_last_successful_runs(store: SqlStore, history: History) -> None:
    assert history.typical_seconds("shop", "restart") is None
    lived(store, created=0, ended=500)
    for turn in range(1, 20):
        lived(store, created=turn * 100, ended=turn * 100 + 4)
    lived(store, created=3000, ended=3900, state=RecoveryState.FAILED, outcome=Outcome.INEFFECTIVE)
    lived(store, "cart", created=0, ended=77)

    assert history.typical_seconds("shop", "restart") == 4.0
    assert history.typical_seconds("cart", "restart") == 77.0
    assert history.typical_seconds("shop", "degrade") is None


def test_pruning_forgets_old_rows_in_batches_and_keeps_what_is_in_use(store: SqlStore, history: History) -> None:
    old = [lived(store, created=turn, ended=turn + 1) for turn in range(5)]
    mitigated = lived(store, "search", created=1, ended=2)
    store.transition(mitigated, mitigated, mitigation=Mitigation("search", "degrade", mitigated.id, at(2), at(900)))
    opened = recovery("cart", created_at=at(0))
    store.open_recovery(opened, failure("cart"), [decision("cart", recovery_id=opened.id)], [event(recovery_id=opened.id)])
    store.record([decision(recovery_id=old[0].id), decision("lone")], [event(recovery_id=old[0].id), event("new", at=at(200))])
    store.record_sweep([Sample("shop", "http", at(second), ok=True, latency=0.1) for second in range(7)], [], [], [])
    store.audit("cancelled", "operator", {}, T0)

    pruned = history.prune(samples_before=at(5), history_before=at(100), batch=2)

    assert (pruned.samples, pruned.recoveries, pruned.decisions, pruned.events) == (5, 5, 2, 1)
    assert {row.id for row in history.recoveries()} == {opened.id, mitigated.id}
    assert store.attempts(old[0].id) == []
    assert [noted.event.name for noted in history.events_after(0)] == ["recovery:started", "new"]
    assert history.availability(at(0), at(60))[0].passed == Rate(2, 2)
    again = history.prune(samples_before=at(5), history_before=at(100), batch=2)
    assert (again.samples, again.recoveries, again.decisions, again.events) == (0, 0, 0, 0)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 2.5), (0.95, 3.85), (1.0, 4.0)])
def test_percentiles_are_interpolated(share: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(expected)


def test_a_naive_time_is_refused(history: History) -> None:
    with pytest.raises(Exception, match="no time zone"):
        history.recoveries(since=datetime(2026, 1, 1))  # noqa: DTZ001 -- that is the point
