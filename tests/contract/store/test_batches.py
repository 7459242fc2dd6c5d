"""A batch of reports: one transaction that does what the reports would have done one by one."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest

from recovery.models import Category, Event, Failure, Recovery, RecoveryState, Severity
from recovery.ports import Accepted, Intake, Report, Store
from recovery.store.memory import MemoryStore
from recovery.store.sql import SqlStore
from tests.contract.store.test_ledger import event_names, noted
from tests.rows import at, event, failure, recovery


def opened_by(report: Failure, moment: datetime) -> tuple[Recovery, Sequence[Event]]:
    """The recovery that a report opens, with an id of its own so that two stores can be compared."""
    draft = recovery(
        report.service,
        id=f"r-{report.id}",
        created_at=moment,
        category=report.category,
        fingerprint=report.fingerprint,
        severity=report.severity,
        failure_id=report.id,
        last_failure_at=report.occurred_at,
    )
    return draft, (event(service=report.service, recovery_id=draft.id),)


def report_of(report: Failure, moment: float = 0.0) -> Report:
    return Report(report, at(moment), lambda: opened_by(report, at(moment)))


def one_by_one(store: Store, reports: Sequence[Report]) -> list[Accepted]:
    answers = []
    for report in reports:
        draft, events = report.opens()
        answers.append(store.open_recovery(draft, report.failure, (), events))
    return answers


def rows_of(store: Store, ids: Sequence[str]) -> list[Recovery | None]:
    return [store.recovery(known) for known in sorted(set(ids))]


def test_equal_reports_open_one_recovery_with_the_right_count(store: Store) -> None:
    reports = [report_of(failure(severity=Severity.MEDIUM, occurred_at=at(second)), second) for second in range(200)]
    reports.append(report_of(failure(severity=Severity.CRITICAL, occurred_at=at(3)), 200))

    answers = store.take_in(reports)

    current = store.open_recovery_of("shop")
    assert current is not None
    assert [answer.intake for answer in answers] == [Intake.OPENED] + [Intake.MERGED] * 200
    assert {answer.recovery for answer in answers if answer.recovery.id == current.id} == {current}
    assert (current.failures, current.severity, current.last_failure_at) == (201, Severity.CRITICAL, at(199))
    assert noted(store) == [("one_open_recovery", 199, at(200), None)]
    assert event_names(store) == ["recovery:started"]


def test_a_batch_goes_on_counting_where_the_last_one_ended(store: Store) -> None:
    first = store.take_in([report_of(failure()) for _ in range(3)])[0].recovery

    answers = store.take_in([report_of(failure(), 5) for _ in range(4)])

    assert [answer.intake for answer in answers] == [Intake.MERGED] * 4
    assert store.recovery(first.id) == replace(first, failures=7)
    assert noted(store) == [("one_open_recovery", 5, at(5), None)]


def test_the_same_report_twice_in_a_batch_or_in_two_is_one(store: Store) -> None:
    same, other = failure(id="same"), failure(id="other")
    reports = [report_of(same), report_of(other), report_of(same)]

    first = store.take_in(reports)
    again = store.take_in(reports)

    assert [answer.intake for answer in first] == [Intake.OPENED, Intake.MERGED, Intake.DUPLICATE]
    assert [answer.intake for answer in again] == [Intake.DUPLICATE] * 3
    assert {answer.recovery for answer in again} == {replace(first[0].recovery, failures=2)}


def test_a_known_report_is_known_after_its_recovery_closed(store: Store) -> None:
    known = failure()
    opened = store.take_in([report_of(known)])[0].recovery
    closed = store.transition(opened, replace(opened, state=RecoveryState.SUCCEEDED, due_at=None, finished_at=at(3)))

    [answer] = store.take_in([report_of(known, 9)])

    assert (answer.intake, answer.recovery) == (Intake.DUPLICATE, closed)
    assert store.open_recovery_of("shop") is None


def test_what_is_quiet_absorbs_and_what_differs_opens(store: Store) -> None:
    quiet = recovery(state=RecoveryState.FAILED, quiet_until=at(60), due_at=None, finished_at=at(5))
    store.open_recovery(quiet, failure(), [], [])
    equal = [report_of(failure(occurred_at=at(9)), 9) for _ in range(2)]
    other = report_of(failure(category=Category.CACHE), 10)
    late = report_of(failure(occurred_at=at(11)), 11)

    answers = store.take_in([*equal, other, late])

    assert [answer.intake for answer in answers] == [Intake.MERGED, Intake.MERGED, Intake.OPENED, Intake.MERGED]
    assert store.recovery(quiet.id) == replace(quiet, failures=3, last_failure_at=at(9))
    assert answers[3].recovery == store.open_recovery_of("shop")
    assert answers[3].recovery.failures == 2


def test_an_empty_batch_is_nothing(store: Store) -> None:
    assert store.take_in([]) == []


def test_nothing_is_written_if_one_report_cannot_be(store: Store) -> None:
    def broken() -> tuple[Recovery, Sequence[Event]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.take_in([report_of(failure("cart")), Report(failure(), at(0), broken)])

    assert store.open_recoveries() == []
    assert event_names(store) == []


def test_a_single_report_opens_merges_or_is_known(store: Store) -> None:
    opened = store.take_in([report_of(failure(id="first"))])[0]
    (merged,) = store.take_in([report_of(failure(id="second", occurred_at=at(4)), 5)])
    (again,) = store.take_in([report_of(failure(id="second"), 6)])

    assert opened.intake is Intake.OPENED
    assert merged == Accepted(Intake.MERGED, replace(opened.recovery, failures=2, last_failure_at=at(4)))
    assert again == Accepted(Intake.DUPLICATE, merged.recovery)
    assert noted(store) == [("one_open_recovery", 0, None, None)]
    assert len(event_names(store)) == 1


def test_a_known_report_opens_nothing_after_its_recovery_closed(store: Store) -> None:
    opened = store.open_recovery(recovery(), failure(id="first"), [], []).recovery
    closed = store.transition(opened, replace(opened, state=RecoveryState.SUCCEEDED, due_at=None, finished_at=at(3)))
    assert closed is not None

    assert store.take_in([report_of(failure(id="first"), 9)]) == [Accepted(Intake.DUPLICATE, closed)]
    assert store.open_recoveries() == []


def test_a_single_report_needs_no_plan_to_merge(sql_store: SqlStore) -> None:
    sql_store.open_recovery(recovery(), failure(), [], [])

    (merged,) = sql_store.take_in([Report(failure(), at(5), lambda: pytest.fail("planned for nothing"))])

    assert merged.intake is Intake.MERGED


@pytest.mark.parametrize("seed", range(8))
def test_batches_leave_what_single_reports_would_have_left(store: Store, seed: int) -> None:
    chance = random.Random(seed)
    single = MemoryStore()
    reports: list[Report] = []
    for number in range(120):
        reported = failure(
            chance.choice(["shop", "cart", "search"]),
            id=f"f-{chance.randrange(80)}",
            category=chance.choice([Category.CACHE, Category.DATABASE]),
            severity=chance.choice(list(Severity)),
            occurred_at=at(chance.randrange(50)),
        )
        reports.append(report_of(reported, number))
    ids: list[str] = []
    while reports:
        batch, reports = reports[: (size := chance.randrange(1, 40))], reports[size:]
        whole, each = store.take_in(batch), one_by_one(single, batch)
        assert [(one.intake, one.recovery.id) for one in whole] == [(one.intake, one.recovery.id) for one in each]
        ids += [one.recovery.id for one in whole]
        for ending in (store, single):
            _close(ending, random.Random(seed * 1000 + len(ids)), len(ids))

    assert rows_of(store, ids) == rows_of(single, ids)
    assert sorted(noted(store), key=str) == sorted(noted(single), key=str)
    assert event_names(store) == event_names(single)


def _close(store: Store, chance: random.Random, moment: int) -> None:
    """Close some of what is open, so that the next batch finds open, quiet and no recoveries."""
    for row in store.open_recoveries():
        if chance.random() < 0.4:
            quiet = at(moment + chance.randrange(5, 60))
            store.transition(row, replace(row, state=RecoveryState.FAILED, due_at=None, finished_at=at(moment), quiet_until=quiet))
