"""From a report to an outcome: what the desk, the coordinator and the executor make of it together."""

from dataclasses import replace
from datetime import timedelta

import pytest

from recovery.errors import DriverError, FailureInvalid, RecoveryNotFound, ServiceNotFound, StepFailed, StrategyUnavailable, UnknownName
from recovery.models import AttemptState, Choice, Kind, Outcome, RecoveryState, Status, StepState
from recovery.ports import Done, Execute, Intake, Wait
from tests.world import World


def test_a_reported_failure_is_recovered_by_the_first_strategy_that_works() -> None:
    world = World("restart", "degrade")

    recovery_id = world.report(message="connection refused")
    directive = world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert directive == Done(recovery_id, Outcome.RESOLVED)
    assert recovery
    assert (recovery.state, recovery.outcome) == (RecoveryState.SUCCEEDED, Outcome.RESOLVED)
    assert world.ledger == ["restart.one", "restart.two"]
    assert [(step.name, step.state) for step in world.store.steps(recovery_id)] == [
        ("one", StepState.FINISHED),
        ("two", StepState.FINISHED),
        ("verify", StepState.FINISHED),
    ]


def test_a_service_that_stays_sick_goes_through_the_plan_and_fails() -> None:
    world = World("restart", "reload")
    world.healthy = False

    recovery_id = world.report()
    world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert (recovery.state, recovery.outcome) == (RecoveryState.FAILED, Outcome.INEFFECTIVE)
    assert [(attempt.strategy, attempt.outcome) for attempt in world.store.attempts(recovery_id)] == [
        ("restart", Outcome.INEFFECTIVE),
        ("reload", Outcome.INEFFECTIVE),
    ]
    assert "restart (ineffective), reload (ineffective)" in recovery.reason


@pytest.mark.parametrize("error", [StepFailed("no such file"), DriverError("refused"), ValueError("boom")])
def test_a_step_that_breaks_fails_the_attempt_and_the_next_strategy_is_tried(error: Exception) -> None:
    world = World("restart", "reload")

    def break_down() -> None:
        raise error

    world.strategies["restart"].during["one"] = break_down

    recovery_id = world.report()
    world.run(recovery_id)

    first, second = world.store.attempts(recovery_id)
    assert first.outcome is Outcome.FAILED
    assert str(error) in first.reason
    assert second.outcome is Outcome.RESOLVED
    assert "restart.two" not in world.ledger


def test_degrading_is_mitigated_never_resolved_and_leaves_a_mitigation() -> None:
    world = World("degrade")

    recovery_id = world.report()
    world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert recovery.outcome is Outcome.MITIGATED
    assert [(put.service, put.strategy) for put in world.store.mitigations()] == [("web", "degrade")]
    assert world.report() == recovery_id, "reports of a mitigated service merge into the recovery that mitigated it"


def test_a_mitigation_that_does_not_help_is_taken_away_at_once() -> None:
    world = World("degrade")
    world.healthy = False

    recovery_id = world.report()
    world.run(recovery_id)

    assert world.ledger == ["degrade.one", "degrade.two", "degrade.undo:two", "degrade.undo:one"]
    assert world.store.mitigations() == []


def test_a_mitigated_service_that_is_healthy_again_is_restored() -> None:
    world = World("degrade")
    world.run(world.report())
    world.ledger.clear()

    world.later(5)
    world.see("web", Status.HEALTHY, since=2)
    (restore,) = world.desk.restore_all()
    world.run(restore.recovery.id)

    recovery = world.store.recovery(restore.recovery.id)
    assert restore.recovery.kind is Kind.SCHEDULED
    assert recovery
    assert recovery.outcome is Outcome.RESOLVED
    assert world.ledger == ["degrade.revert:one", "degrade.revert:two"]
    assert world.store.mitigations() == []
    assert world.desk.restore_all() == []


def test_a_mitigation_whose_time_is_over_ends_by_itself() -> None:
    world = World("degrade")
    world.run(world.report())

    world.later(901)
    world.reaper.tick()

    assert world.store.mitigations() == []


def test_equal_reports_merge_into_the_open_recovery() -> None:
    world = World("restart")

    first = world.report()
    again = world.report()

    recovery = world.store.recovery(first)
    assert again == first
    assert recovery
    assert recovery.failures == 2


def test_the_same_report_twice_is_one_report() -> None:
    world = World("restart")
    first = world.desk.report({"id": "r1", "service": "web"})

    again = world.desk.report({"id": "r1", "service": "web"})

    assert (first.intake, again.intake) == (Intake.OPENED, Intake.DUPLICATE)
    assert world.store.recovery(first.recovery.id).failures == 1  # type: ignore[union-attr]  # it exists


def test_a_late_report_of_an_outage_that_is_over_does_nothing() -> None:
    world = World("restart")
    started = world.now
    recovery_id = world.report()
    world.later(2)
    world.run(recovery_id)
    world.ledger.clear()

    world.later(30)
    late = world.report(occurred_at=started.isoformat())
    world.run(late)

    recovery = world.store.recovery(late)
    assert recovery
    assert recovery.state is RecoveryState.SUPPRESSED
    assert world.ledger == []


def test_a_duplicate_strategy_message_does_nothing() -> None:
    world = World("restart")
    recovery_id = world.report()
    directive = world.advance(recovery_id)
    world.execute(directive)

    assert world.execute(directive) is None
    assert world.ledger == ["restart.one", "restart.two"]


def test_advancing_twice_sends_the_strategy_once() -> None:
    world = World("restart")
    recovery_id = world.report()

    first, second = world.advance(recovery_id), world.advance(recovery_id)

    assert isinstance(first, Execute)
    assert isinstance(second, Wait)


def test_a_lost_strategy_message_is_sent_again_by_the_tick() -> None:
    world = World("restart")
    recovery_id = world.report()
    sent = world.advance(recovery_id)

    world.later(9)
    assert world.reaper.tick() == []
    world.later(2)
    assert world.reaper.tick() == [sent]


def test_a_report_whose_advance_never_ran_is_picked_up_by_the_tick() -> None:
    world = World("restart")
    recovery_id = world.report()

    (directive,) = world.reaper.tick()

    assert isinstance(directive, Execute)
    assert directive.recovery_id == recovery_id


def test_a_cancel_before_the_start_closes_the_recovery_and_frees_the_cooldown() -> None:
    world = World("restart")
    recovery_id = world.report()
    world.advance(recovery_id)

    world.desk.cancel(recovery_id, "not now")
    world.advance(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert (recovery.state, recovery.reason) == (RecoveryState.CANCELLED, "not now")
    assert world.store.attempts(recovery_id)[0].state is AttemptState.SKIPPED
    assert world.cooldowns.remaining("web", ["restart"]) == {}
    assert world.ledger == []


def test_a_cancel_while_working_takes_effect_at_the_next_step() -> None:
    world = World("restart", "reload")
    recovery_id = world.report()

    def cancel() -> None:
        world.desk.cancel(recovery_id, "stop it")

    world.strategies["restart"].during["one"] = cancel

    world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert recovery.state is RecoveryState.CANCELLED
    assert world.ledger == ["restart.one"]


def test_a_manual_trigger_runs_one_strategy() -> None:
    world = World("restart", "reload")

    accepted = world.desk.trigger("web", "reload", reason="after the deploy")
    world.run(accepted.recovery.id)

    assert accepted.recovery.kind is Kind.MANUAL
    assert world.ledger == ["reload.one", "reload.two"]


def test_a_trigger_with_a_known_id_opens_nothing_new() -> None:
    world = World("restart")
    first = world.desk.trigger("web", "restart", recovery_id="11111111-0000-0000-0000-000000000000")

    again = world.desk.trigger("web", "restart", recovery_id=first.recovery.id)

    assert again.intake is Intake.DUPLICATE


def test_bad_requests_are_refused_with_the_nearest_name() -> None:
    world = World("restart", "reload")
    world.strategies["reload"].refusal = "no driver is declared"

    with pytest.raises(ServiceNotFound, match="'wbe' is declared, did you mean 'web'"):
        world.desk.trigger("wbe")
    with pytest.raises(UnknownName, match="did you mean 'restart'"):
        world.desk.trigger("web", "restrat")
    with pytest.raises(StrategyUnavailable, match="no driver is declared"):
        world.desk.trigger("web", "reload")
    with pytest.raises(StrategyUnavailable, match="not part of this version"):
        world.desk.trigger("web", "scale")
    with pytest.raises(RecoveryNotFound):
        world.desk.cancel("nope-nope")


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "'service' is missing"),
        ({"service": "web", "servce": 1}, "unknown key 'servce', did you mean 'service'"),
        ({"service": "web", "category": "service_unavailabel"}, "did you mean 'service_unavailable'"),
        ({"service": "web", "occurred_at": "2026-01-01T12:00:00"}, "timezone"),
        ({"service": "rm -rf /"}, "'service'"),
        ({"service": "web", "command": ["rm"]}, "unknown key 'command'"),
    ],
)
def test_a_malformed_report_is_refused_in_words_and_audited(payload: dict[str, object], said: str) -> None:
    world = World("restart")

    with pytest.raises(FailureInvalid, match=said):
        world.desk.report(payload)

    assert world.store.open_recoveries() == []


def test_huge_details_are_left_out_of_a_report_that_is_taken_in() -> None:
    world = World("restart")

    failure = world.store.latest_failure(world.report(details={"body": "x" * 1_000_000}))

    assert failure
    assert failure.details == {"truncated": "1000012 characters of details were left out"}


def test_outside_severities_are_mapped() -> None:
    world = World("restart")

    recovery = world.store.recovery(world.report(severity="warning"))

    assert recovery
    assert str(recovery.severity) == "medium"


def test_a_service_that_left_the_configuration_is_not_touched() -> None:
    world = World("restart")
    recovery_id = world.report()
    world.fleet = world.fleet.model_copy(update={"services": {"db": world.fleet.services["db"]}})

    world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert recovery.state is RecoveryState.CANCELLED
    assert "no longer declared" in recovery.reason


def test_the_reports_of_a_failed_recovery_merge_into_it_for_a_while() -> None:
    world = World("restart", platform={"retry_failed_after": 60, "cooldown": 0})
    world.healthy = False
    first = world.report()
    world.run(first)

    world.later(30)
    during = world.report()
    world.later(31)
    after = world.report()

    assert during == first
    assert after != first


def test_a_recovery_counts_its_time_from_the_first_evidence() -> None:
    world = World("restart")
    evidence = world.now - timedelta(seconds=4)

    recovery_id = world.report(occurred_at=evidence.isoformat())
    world.later(1)
    world.run(recovery_id)

    recovery = world.store.recovery(recovery_id)
    assert recovery
    assert recovery.recovery_seconds == 5.0


def test_every_decision_is_recorded_with_its_numbers() -> None:
    world = World("restart", cooldown={"restart": 60})
    world.run(world.report())
    world.later(10)
    world.see("web", Status.UNHEALTHY)

    second = world.report()
    directive = world.advance(second)

    assert isinstance(directive, Wait)
    assert (directive.until - world.now).total_seconds() == pytest.approx(50)
    decisions = [decision for decision in world.store.decisions if decision.recovery_id == second]
    assert [(decision.choice, decision.guard) for decision in decisions] == [(Choice.SKIP, "cooldown")]
    assert decisions[0].facts["seconds_left"] == pytest.approx(50)
    assert decisions[0].until == directive.until


def test_force_passes_over_cooldown_and_attempt_cap() -> None:
    world = World("restart", cooldown={"restart": 60}, max_attempts=1)
    world.run(world.report())

    accepted = world.desk.trigger("web", "restart", force=True)
    world.run(accepted.recovery.id)

    assert world.ledger.count("restart.one") == 2


def test_a_replaced_row_lets_only_one_of_two_transitions_through() -> None:
    world = World("restart")
    recovery = world.store.recovery(world.report())
    assert recovery

    first = world.store.transition(recovery, replace(recovery, reason="first"))
    second = world.store.transition(recovery, replace(recovery, reason="second"))

    assert first
    assert first.reason == "first"
    assert second is None
