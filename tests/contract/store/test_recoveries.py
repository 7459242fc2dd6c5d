"""Opening, merging, looking up and changing recoveries."""

from dataclasses import replace
from typing import Any

import pytest

from recovery.errors import RecoveryError
from recovery.models import Category, Choice, Kind, Mitigation, Outcome, Recovery, RecoveryState, Severity
from recovery.ports import Intake, Report, Store
from tests.contract.store.test_ledger import noted
from tests.rows import at, attempt, decision, event, failure, recovery


def test_what_is_opened_can_be_read_back_field_by_field(store: Store) -> None:
    report = failure(
        details={"port": 80, "nested": {"list": [1, None, "ä"]}}, labels={"team": "web"}, stack="Traceback ...", severity=Severity.CRITICAL
    )
    opened = recovery(failure_id=report.id, message="down", reason="reported", force=True, config_version="abc", due_at=at(1.000001))

    accepted = store.open_recovery(opened, report, [decision(recovery_id=opened.id)], [event(recovery_id=opened.id)])

    assert accepted.intake is Intake.OPENED
    assert accepted.recovery == opened
    assert store.recovery(opened.id) == opened
    assert store.open_recovery_of("shop") == opened
    assert store.latest_failure(opened.id) == report


def test_the_same_recovery_id_is_never_opened_twice(store: Store) -> None:
    opened = recovery()
    store.open_recovery(replace(opened, state=RecoveryState.SUPPRESSED), None, [], [])

    with pytest.raises(RecoveryError, match=opened.id):
        store.open_recovery(opened, None, [], [])


def test_a_second_report_merges_into_the_open_recovery(store: Store) -> None:
    opened = recovery(severity=Severity.MEDIUM)
    store.open_recovery(opened, failure(), [], [])
    second = failure(severity=Severity.CRITICAL, occurred_at=at(5), message="still down")

    accepted = store.open_recovery(recovery(created_at=at(6)), second, [decision()], [event()])

    assert accepted.intake is Intake.MERGED
    assert accepted.recovery == replace(opened, failures=2, last_failure_at=at(5), severity=Severity.CRITICAL)
    assert store.recovery(opened.id) == accepted.recovery
    assert store.latest_failure(opened.id) == second
    assert store.open_recoveries() == [accepted.recovery]


def test_a_merge_never_lowers_the_severity_or_turns_the_clock_back(store: Store) -> None:
    opened = recovery(severity=Severity.CRITICAL, last_failure_at=at(9))
    store.open_recovery(opened, failure(), [], [])

    accepted = store.open_recovery(recovery(), failure(severity=Severity.LOW, occurred_at=at(3)), [], [])

    assert accepted.recovery == replace(opened, failures=2)


def test_a_known_failure_id_changes_nothing(store: Store) -> None:
    opened, report = recovery(), failure()
    store.open_recovery(opened, report, [], [])

    accepted = store.open_recovery(recovery(), report.model_copy(update={"severity": Severity.CRITICAL}), [decision()], [event()])

    assert accepted.intake is Intake.DUPLICATE
    assert accepted.recovery == opened
    assert store.recovery(opened.id) == opened


def test_a_known_failure_id_opens_nothing_after_its_recovery_closed(store: Store) -> None:
    opened, report = recovery(), failure()
    store.open_recovery(opened, report, [], [])
    closed = store.transition(
        opened, replace(opened, state=RecoveryState.SUCCEEDED, outcome=Outcome.RESOLVED, finished_at=at(3), due_at=None)
    )

    accepted = store.open_recovery(recovery(), report, [], [])

    assert accepted.intake is Intake.DUPLICATE
    assert accepted.recovery == closed
    assert store.open_recovery_of("shop") is None


def test_without_a_failure_the_open_recovery_is_returned_as_it_is(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])

    accepted = store.open_recovery(recovery(), None, [decision()], [event()])

    assert accepted.intake is Intake.MERGED
    assert accepted.recovery == opened


def test_a_closed_recovery_makes_room_for_the_next(store: Store) -> None:
    first = recovery()
    store.open_recovery(first, failure(), [], [])
    store.transition(first, replace(first, state=RecoveryState.FAILED, finished_at=at(5), due_at=None))

    second = recovery(created_at=at(6))

    assert store.open_recovery(second, failure(), [], []).intake is Intake.OPENED
    assert store.open_recovery_of("shop") == second


def test_a_quiet_closed_recovery_absorbs_equal_failures_until_its_time(store: Store) -> None:
    closed = recovery(state=RecoveryState.FAILED, quiet_until=at(60), due_at=None, finished_at=at(5))
    store.open_recovery(closed, failure(), [], [])

    early = store.open_recovery(recovery(created_at=at(59)), failure(occurred_at=at(59)), [], [])
    other = store.open_recovery(recovery(created_at=at(59), category=Category.CACHE), failure(category=Category.CACHE), [], [])

    assert early.intake is Intake.MERGED
    assert early.recovery == replace(closed, failures=2, last_failure_at=at(59))
    assert other.intake is Intake.OPENED


def test_a_suppressed_recovery_absorbs_no_failure_that_is_more_severe_than_what_was_left_alone(store: Store) -> None:
    left_alone = recovery(state=RecoveryState.SUPPRESSED, quiet_until=at(60), due_at=None, finished_at=at(5), severity=Severity.LOW)
    store.open_recovery(left_alone, failure(severity="low"), [], [])

    as_mild = store.open_recovery(recovery(created_at=at(10)), failure(severity="low"), [], [])
    worse = store.open_recovery(recovery(created_at=at(20)), failure(severity="high"), [], [])

    assert (as_mild.intake, as_mild.recovery.id) == (Intake.MERGED, left_alone.id)
    assert worse.intake is Intake.OPENED


def test_quiet_ends_and_never_stops_a_recovery_without_a_failure(store: Store) -> None:
    store.open_recovery(recovery(state=RecoveryState.SUPPRESSED, quiet_until=at(60)), failure(), [], [])

    by_hand = store.open_recovery(recovery(created_at=at(30), state=RecoveryState.FAILED), None, [], [])
    late = store.open_recovery(recovery(created_at=at(60)), failure(), [], [])

    assert by_hand.intake is Intake.OPENED
    assert late.intake is Intake.OPENED


def test_the_first_attempt_of_a_recovery_ends_the_quiet_of_earlier_ones(store: Store) -> None:
    quiet = recovery(state=RecoveryState.FAILED, quiet_until=at(600))
    store.open_recovery(quiet, failure(), [], [])
    elsewhere = recovery("cart", state=RecoveryState.FAILED, quiet_until=at(600))
    store.open_recovery(elsewhere, failure("cart"), [], [])

    by_hand = store.open_recovery(recovery(created_at=at(10)), None, [], []).recovery
    assert store.recovery(quiet.id) == quiet, "one that does not act yet changes nothing"

    begun = store.transition(by_hand, replace(by_hand, attempt=1))
    assert begun
    store.transition(begun, replace(begun, state=RecoveryState.SUCCEEDED, due_at=None))

    assert store.recovery(quiet.id) == replace(quiet, quiet_until=None)
    assert store.busy(at(20)) == {elsewhere.fingerprint: at(600)}
    assert store.open_recovery(recovery(created_at=at(20)), failure(), [], []).intake is Intake.OPENED


def test_one_by_hand_that_answered_a_sickness_absorbs_its_reports(store: Store) -> None:
    by_hand = recovery(kind=Kind.MANUAL, fingerprint="by hand")
    store.open_recovery(by_hand, None, [], [])
    begun = store.transition(by_hand, replace(by_hand, attempt=1))
    assert begun
    answers = replace(begun, state=RecoveryState.SUCCEEDED, due_at=None, finished_at=at(5), quiet_until=at(60))
    store.transition(begun, replace(answers, fingerprint=failure().fingerprint))

    def take(moment: float) -> tuple[Intake, ...]:
        one = store.open_recovery(recovery(created_at=at(moment)), failure(occurred_at=at(moment)), [], [])
        (other,) = store.take_in([Report(failure(occurred_at=at(moment)), at(moment), lambda: (recovery(created_at=at(moment)), ()))])
        return one.intake, other.intake

    assert store.busy(at(59)) == {failure().fingerprint: at(60)}
    assert take(59) == (Intake.MERGED, Intake.MERGED)
    assert take(60) == (Intake.OPENED, Intake.MERGED)


def test_busy_names_what_needs_no_report(store: Store) -> None:
    quiet = recovery("quiet", state=RecoveryState.FAILED, quiet_until=at(60))
    both = recovery("both", state=RecoveryState.FAILED, quiet_until=at(60))
    store.open_recovery(recovery("open"), failure("open"), [], [])
    store.open_recovery(quiet, failure("quiet"), [], [])
    store.open_recovery(both, failure("both"), [], [])
    store.open_recovery(recovery("both", category=Category.CACHE), failure("both", category=Category.CACHE), [], [])
    store.open_recovery(recovery("over", state=RecoveryState.FAILED, quiet_until=at(10)), failure("over"), [], [])

    assert store.busy(at(10)) == {"open": None, "both": None, quiet.fingerprint: at(60), both.fingerprint: at(60)}


def test_an_id_is_found_by_a_unique_prefix_of_six_characters(store: Store) -> None:
    one, two = recovery("one", id="abcdef-1"), recovery("two", id="abcdef-2")
    store.open_recovery(one, None, [], [])
    store.open_recovery(two, None, [], [])

    assert store.recovery("abcdef-1") == one
    assert store.recovery("abcdef") is None
    assert store.recovery("abcde") is None
    assert store.recovery("ABCDEF-1") is None
    assert store.recovery("abcd%f-1") is None
    assert store.recovery("") is None
    store.open_recovery(recovery("three", id="fedcba-3"), None, [], [])
    assert store.recovery("fedcba") is not None


def test_open_recoveries_come_most_severe_first_due_ones_longest_due_first(store: Store) -> None:
    rows = [
        recovery("old", created_at=at(0), due_at=at(5)),
        recovery("critical", created_at=at(2), severity=Severity.CRITICAL, due_at=at(5)),
        recovery("young", created_at=at(3), due_at=at(5)),
        recovery("later", created_at=at(0), severity=Severity.CRITICAL, due_at=at(5.000001)),
        recovery("closed", state=RecoveryState.FAILED, due_at=None),
    ]
    for row in reversed(rows):
        store.open_recovery(row, None, [], [])

    assert [row.service for row in store.open_recoveries()] == ["later", "critical", "old", "young"]
    assert store.due(at(5), 10) == [rows[1].id, rows[0].id, rows[2].id]
    assert store.due(at(5), 2) == [rows[1].id, rows[0].id]
    assert store.due(at(6), 10)[-1] == rows[3].id, "critical, but due after the others"
    assert store.due(at(4), 10) == []


def test_a_transition_stores_everything_that_belongs_to_it(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])
    mitigation = Mitigation("shop", "degrade", opened.id, at(1), at(900))
    first = attempt(opened)

    result = store.transition(
        opened,
        replace(opened, state=RecoveryState.IN_PROGRESS, attempt=1, started_at=at(1), due_at=at(20), reason="restart"),
        attempt=first,
        decisions=[decision(choice=Choice.ACT, recovery_id=opened.id)],
        events=[event(recovery_id=opened.id)],
        mitigation=mitigation,
    )

    assert result == replace(
        opened, state=RecoveryState.IN_PROGRESS, attempt=1, started_at=at(1), due_at=at(20), reason="restart", version=1
    )
    assert store.recovery(opened.id) == result
    assert store.attempts(opened.id) == [first]
    assert store.mitigations() == [mitigation]


def test_a_transition_from_an_older_version_writes_nothing(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])
    current = store.transition(opened, replace(opened, reason="first"))

    stale = store.transition(
        opened,
        replace(opened, reason="second", state=RecoveryState.FAILED),
        attempt=attempt(opened),
        mitigation=Mitigation("shop", "degrade", opened.id, at(1), at(900)),
    )

    assert stale is None
    assert store.recovery(opened.id) == current
    assert store.attempts(opened.id) == []
    assert store.mitigations() == []


def test_a_transition_of_an_unknown_recovery_writes_nothing(store: Store) -> None:
    assert store.transition(recovery(), recovery()) is None


def test_a_transition_keeps_what_reports_and_cancellations_wrote_meanwhile(store: Store) -> None:
    opened = recovery(severity=Severity.LOW, due_at=at(0))
    store.open_recovery(opened, failure(), [], [])
    store.open_recovery(recovery(), failure(severity=Severity.CRITICAL, occurred_at=at(7)), [], [])
    store.request_cancel(opened.id, "by hand", at(8))

    result = store.transition(opened, replace(opened, state=RecoveryState.IN_PROGRESS, due_at=at(60)))

    assert result is not None
    assert (result.failures, result.last_failure_at, result.severity, result.cancel_requested) == (2, at(7), Severity.CRITICAL, True)
    assert result.due_at == at(8), "the transition must not put the cancellation off"
    assert result.reason == "by hand"
    assert store.recovery(opened.id) == result


def test_closing_clears_the_due_time_whatever_happened_meanwhile(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])
    store.request_cancel(opened.id, "by hand", at(8))

    result = store.transition(opened, replace(opened, state=RecoveryState.FAILED, due_at=None, finished_at=at(9)))

    assert result is not None
    assert result.due_at is None
    assert store.due(at(100), 10) == []


def test_cancelling_marks_an_open_recovery_and_makes_it_due(store: Store) -> None:
    opened = recovery(due_at=at(100))
    store.open_recovery(opened, failure(), [], [])

    cancelled = store.request_cancel(opened.id, "maintenance", at(3))

    assert cancelled == replace(opened, cancel_requested=True, reason="maintenance", due_at=at(3))
    assert store.recovery(opened.id) == cancelled
    assert store.due(at(3), 10) == [opened.id]


def test_cancelling_a_closed_or_unknown_recovery_does_nothing(store: Store) -> None:
    closed = recovery(state=RecoveryState.SUCCEEDED)
    store.open_recovery(closed, None, [], [])

    assert store.request_cancel(closed.id, "too late", at(3)) is None
    assert store.request_cancel("unknown", "never was", at(3)) is None
    assert store.recovery(closed.id) == closed


def test_a_mitigation_is_replaced_ended_and_lifted(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])
    old, new = (Mitigation("shop", "degrade", opened.id, at(moment), at(900)) for moment in (1, 2))
    other = Mitigation("shop", "backup_fallback", opened.id, at(3), at(900))
    current = opened
    for mitigation in (old, new, other):
        current = store.transition(current, current, mitigation=mitigation) or current

    assert store.mitigations() == [other, new]
    assert not store.end_mitigation(old, [event("degradation:changed")])
    assert store.end_mitigation(new, [event("degradation:changed")])
    assert not store.end_mitigation(new, [])
    store.transition(current, current, ended=other)
    assert store.mitigations() == []


def test_what_is_closed_from_the_beginning_is_kept_beside_what_is_open(store: Store) -> None:
    standing = recovery()
    store.open_recovery(standing, None, [], [])
    rehearsal = recovery(state=RecoveryState.SUPPRESSED, dry_run=True, due_at=None, finished_at=at(1))

    accepted = store.open_recovery(rehearsal, None, [decision(recovery_id=rehearsal.id)], [event(recovery_id=rehearsal.id)])

    assert (accepted.intake, accepted.recovery) == (Intake.OPENED, rehearsal)
    assert store.recovery(rehearsal.id) == rehearsal
    assert store.open_recovery_of(standing.service) == standing


def left_alone(quiet_until: float, **fields: Any) -> Recovery:
    fields = {"state": RecoveryState.SUPPRESSED, "due_at": None, "finished_at": at(1), "quiet_until": at(quiet_until)} | fields
    return recovery(**fields)


def test_what_ends_being_quiet_is_found_in_the_order_in_which_it_ends(store: Store) -> None:
    later, sooner, failed = left_alone(70), left_alone(65), left_alone(66, state=RecoveryState.FAILED, outcome=Outcome.FAILED)
    for other in (
        later,
        sooner,
        failed,
        left_alone(60),
        left_alone(71),
        left_alone(65, state=RecoveryState.CANCELLED),
        left_alone(65, kind=Kind.MANUAL),
        left_alone(65, attempt=1),
        recovery(),
    ):
        store.open_recovery(other, None, [], [])

    assert store.quiet_ending(at(60), at(70), 10) == [sooner, failed, later]
    assert store.quiet_ending(at(60), at(70), 1) == [sooner]


def test_quiet_is_prolonged_once_and_its_decision_counts_up(store: Store) -> None:
    left = left_alone(65)
    made = decision(recovery_id=left.id, choice=Choice.SUPPRESS, guard="autonomy")
    store.open_recovery(left, None, [made], [])

    assert store.prolong(left, at(125), [replace(made, at=at(64))])
    assert not store.prolong(left, at(999), [made]), "somebody else did it before"

    assert store.recovery(left.id) == replace(left, quiet_until=at(125))
    assert store.busy(at(100)) == {left.fingerprint: at(125)}
    assert noted(store) == [("autonomy", 1, at(64), made.until)]


def test_a_late_report_of_what_was_over_merges_into_the_recovery_that_said_so(store: Store) -> None:
    over = left_alone(-60, finished_at=at(0))
    store.open_recovery(over, None, [], [])

    def take(occurred: float) -> Intake:
        report = failure(occurred_at=at(occurred))
        return store.open_recovery(recovery(created_at=at(10), state=RecoveryState.SUPPRESSED, finished_at=at(10)), report, [], []).intake

    assert take(-61) is Intake.MERGED
    assert take(-60) is Intake.OPENED
    assert take(5) is Intake.OPENED
