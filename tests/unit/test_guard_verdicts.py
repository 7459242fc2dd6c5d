"""Each guard by itself: what it objects to, with which numbers, and whom it lets pass."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recovery.config.fleet import Fleet, MaintenanceDeclaration, PlatformDeclaration, ServiceDeclaration
from recovery.decide.facts import Facts
from recovery.decide.guards import SERVICE_GUARDS, START_GUARDS, STRATEGY_GUARDS
from recovery.decide.guards.holding import action_budget, approval, blind, dependency_down, flapping, kill_switch, silenced
from recovery.decide.guards.leaving import autonomy, dry_run, rejected, severity_policy, unmanaged, unrecoverable
from recovery.decide.guards.remedies import attempt_cap, cooldown, ineffective
from recovery.models import (
    Action,
    Answer,
    Approval,
    AttemptState,
    Autonomy,
    Choice,
    Failure,
    Kind,
    Load,
    Outcome,
    Plan,
    PlannedAttempt,
    RecoveryState,
    ServiceState,
    Severity,
    Silence,
    SilenceKind,
    Status,
)
from recovery.store.rules import repeat_key
from tests.rows import T0, at, attempt, recovery

RESTART = PlannedAttempt(strategy="restart", queue="restart")
DEGRADE = PlannedAttempt(strategy="degrade", queue="degrade")
TAKE_AWAY = DEGRADE.model_copy(update={"action": Action.REVERT})
NOW = at(100)


def facts(*, platform: dict[str, Any] | None = None, service: dict[str, Any] | None = None, fleet_of: int = 1, **fields: Any) -> Facts:
    """Return facts about an automatic recovery of `shop` by restart, then degrade; `shop` is one of `fleet_of` services."""
    shop = ServiceDeclaration.model_validate({"name": "shop"} | (service or {}))
    others = {f"other-{number}": ServiceDeclaration(name=f"other-{number}") for number in range(fleet_of - 1)}
    fleet = Fleet(version="v1", platform=PlatformDeclaration.model_validate(platform or {}), services={"shop": shop, **others})
    of = {name: fields.pop(name) for name in ("kind", "severity", "force", "state", "dry_run", "created_at", "plan") if name in fields}
    row = recovery("shop", **{"plan": Plan(attempts=(RESTART, DEGRADE)), "created_at": T0, **of})
    return Facts(now=NOW, fleet=fleet, service=shop, installed=frozenset({"restart", "degrade"}), recovery=row, **fields)


def silence(kind: SilenceKind, until: float | None = 200, **fields: Any) -> Silence:
    return Silence("s-1", kind, T0, at(until) if until is not None else None, "ann", "new cables", T0, **fields)


def past(strategy: str, ago: float, outcome: Outcome, **fields: Any) -> Any:
    """Return a finished attempt that began `ago` seconds before now, against the failure that `facts` is about."""
    one = recovery()
    return attempt(
        one,
        strategy=strategy,
        state=AttemptState.FINISHED,
        outcome=outcome,
        created_at=NOW - timedelta(seconds=ago),
        fingerprint=one.fingerprint,
        **fields,
    )


def test_the_guards_run_in_the_order_that_is_documented() -> None:
    names = [guard.__name__ for guard in (*SERVICE_GUARDS, *STRATEGY_GUARDS, *START_GUARDS)]

    assert names == [
        "rejected",
        "kill_switch",
        "unmanaged",
        "unrecoverable",
        "healthy_again",
        "autonomy",
        "severity_policy",
        "dry_run",
        "silenced",
        "blind",
        "flapping",
        "dependency_down",
        "not_installed",
        "attempt_cap",
        "ineffective",
        "cooldown",
        "approval",
        "action_budget",
    ]


ON = [silence(SilenceKind.KILL_SWITCH, None)]


@pytest.mark.parametrize(
    ("kind", "force", "held"),
    [
        (Kind.AUTOMATIC, False, True),
        (Kind.SCHEDULED, False, True),
        (Kind.MANUAL, False, True),
        (Kind.MANUAL, True, False),
        (Kind.EMERGENCY, False, False),
    ],
)
def test_the_kill_switch_holds_all_but_emergencies_and_what_is_forced(kind: Kind, force: bool, held: bool) -> None:
    verdict = kill_switch(facts(kind=kind, force=force, silences=ON))

    assert (verdict is not None) is held
    if verdict:
        assert (verdict.choice, verdict.guard, verdict.until) == (Choice.DELAY, "kill_switch", None)
        assert verdict.look_at(NOW) == NOW + timedelta(seconds=60)
        assert "ann" in verdict.reason
        assert "new cables" in verdict.reason


@pytest.mark.parametrize("kind", [Kind.MANUAL, Kind.EMERGENCY])
@pytest.mark.parametrize(
    "guard",
    [
        silenced,
        blind,
        autonomy,
        severity_policy,
        flapping,
        dependency_down,
        lambda seen: approval(seen, RESTART),
        lambda seen: action_budget(seen, RESTART),
    ],
)
def test_what_a_person_asked_for_waits_for_nothing_else(kind: Kind, guard: Callable[[Facts], object]) -> None:
    held: dict[str, Any] = {
        "silences": [silence(SilenceKind.SILENCE)],
        "blind": "no sweep for 99 s",
        "dependencies": {"db": Status.UNHEALTHY},
        "load": Load(in_progress=9),
        "platform": {"autonomy": "observe", "act_from": "critical"},
        "service": {"approve": ["restart"]},
    }
    flaps = facts(kind=kind, **held)
    seen = replace(flaps, state=ServiceState("shop", flapping=True, change_rate=50.0))

    assert guard(seen) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_hands_off_is_hands_off_for_everybody(kind: Kind) -> None:
    assert unmanaged(facts(kind=kind, service={"managed": False})) is not None
    assert dry_run(facts(kind=kind, platform={"dry_run": True})) is not None


@pytest.mark.parametrize("kind", [SilenceKind.MAINTENANCE, SilenceKind.SILENCE, SilenceKind.DEPLOY])
def test_a_silence_holds_until_its_end_and_is_named_by_its_kind(kind: SilenceKind) -> None:
    verdict = silenced(facts(silences=[silence(kind)]))

    assert verdict
    assert (verdict.choice, verdict.guard, verdict.until) == (Choice.DELAY, str(kind), at(200))


def test_of_several_silences_the_one_that_ends_last_counts() -> None:
    on = [silence(SilenceKind.DEPLOY, 150), silence(SilenceKind.SILENCE, 300), silence(SilenceKind.SILENCE, 250)]

    verdict = silenced(facts(silences=on))

    assert verdict
    assert verdict.until == at(300)
    assert verdict.numbers["in_force"] == 3


@pytest.mark.parametrize(
    "other",
    [
        silence(SilenceKind.SILENCE, 50),
        silence(SilenceKind.SILENCE, services=("bank",)),
        silence(SilenceKind.SILENCE, labels={"tier": "gold"}),
        replace(silence(SilenceKind.SILENCE), lifted_at=at(60)),
        replace(silence(SilenceKind.SILENCE), since=at(150)),
    ],
)
def test_a_silence_that_is_over_lifted_to_come_or_about_others_holds_nothing(other: Silence) -> None:
    assert silenced(facts(silences=[other])) is None


def test_a_silence_covers_a_service_by_its_labels() -> None:
    seen = facts(service={"labels": {"tier": "gold", "team": "a"}}, silences=[silence(SilenceKind.SILENCE, labels={"tier": "gold"})])

    assert silenced(seen) is not None


def test_a_declared_maintenance_window_holds_and_is_looked_at_again_because_the_file_may_change() -> None:
    seen = facts()
    window = MaintenanceDeclaration(name="cables", starts=T0, ends=at(500))

    verdict = silenced(replace(seen, fleet=seen.fleet.model_copy(update={"maintenance": (window,)})))

    assert verdict
    assert (verdict.guard, verdict.until) == ("maintenance", at(500))
    assert verdict.look_at(NOW) == NOW + timedelta(seconds=60)


def test_a_long_wait_for_the_budget_is_one_decision_however_its_numbers_change() -> None:
    loads = [Load(in_progress=1), Load(in_progress=2, ahead=3), Load(in_progress=1, ahead=1)]
    seen = facts()
    verdicts = [action_budget(replace(seen, load=load), RESTART) for load in loads]

    assert len({repeat_key(verdict.decision(seen)) for verdict in verdicts if verdict}) == 1
    assert all(verdicts)


def test_a_flapping_service_is_held_with_its_rate() -> None:
    seen = facts(service={"checks": [{"name": "http", "type": "http"}]})

    verdict = flapping(replace(seen, state=ServiceState("shop", flapping=True, change_rate=42.0)))

    assert verdict
    assert verdict.choice is Choice.DELAY
    assert verdict.numbers == {"change_rate": 42.0, "flap_high": 30.0, "flap_low": 25.0}
    assert flapping(replace(seen, state=ServiceState("shop", change_rate=42.0))) is None


def test_a_service_that_lost_its_checks_while_it_flapped_is_not_held_for_ever() -> None:
    assert flapping(facts(state=ServiceState("shop", flapping=True, change_rate=42.0))) is None


@pytest.mark.parametrize("kind", [SilenceKind.SILENCE, SilenceKind.DEPLOY, SilenceKind.KILL_SWITCH])
def test_whatever_people_may_lift_is_looked_at_again_long_before_its_end(kind: SilenceKind) -> None:
    verdict = (kill_switch if kind is SilenceKind.KILL_SWITCH else silenced)(facts(silences=[silence(kind, 9_000)]))

    assert verdict
    assert verdict.until == at(9_000)
    assert verdict.look_at(NOW) == NOW + timedelta(seconds=60)


@pytest.mark.parametrize("kind", list(Kind))
def test_only_what_nobody_asked_for_stops_at_a_failure_that_no_recovery_can_mend(kind: Kind) -> None:
    hopeless = Failure(service="shop", recoverable=False)

    assert (unrecoverable(facts(kind=kind, failure=hopeless)) is not None) is (kind is Kind.AUTOMATIC)


def test_the_farthest_root_that_is_down_is_named_first() -> None:
    down = {"cache": Status.UNHEALTHY, "queue": Status.HEALTHY, "db": Status.UNHEALTHY}

    verdict = dependency_down(facts(dependencies=down))

    assert verdict
    assert verdict.numbers["down"] == ["db", "cache"]
    assert "db is recovered first" in verdict.reason
    assert verdict.until == at(300)


@pytest.mark.parametrize("status", [Status.HEALTHY, Status.DEGRADED, Status.UNKNOWN])
def test_a_dependency_that_is_not_known_to_be_down_holds_nothing(status: Status) -> None:
    assert dependency_down(facts(dependencies={"db": status})) is None


def test_the_patience_with_dependencies_ends() -> None:
    seen = facts(platform={"dependency_patience": 100}, dependencies={"db": Status.UNHEALTHY})

    assert dependency_down(seen) is None
    assert dependency_down(replace(seen, now=at(99))) is not None


@pytest.mark.parametrize(("severity", "left_alone"), [(Severity.CRITICAL, False), (Severity.HIGH, False), (Severity.MEDIUM, True)])
def test_mild_failures_are_recorded_only(severity: Severity, left_alone: bool) -> None:
    verdict = severity_policy(facts(severity=severity, platform={"act_from": "low"}, service={"act_from": "high"}))

    assert (verdict is not None) is left_alone


def test_observe_says_what_would_run_and_suggest_what_to_type() -> None:
    observed = autonomy(facts(platform={"autonomy": "observe"}))
    suggested = autonomy(facts(platform={"autonomy": "observe"}, service={"autonomy": "suggest"}))

    assert observed
    assert suggested
    assert (observed.choice, observed.reason, observed.event) == (
        Choice.SUPPRESS,
        "autonomy observe: would run restart, then degrade",
        "",
    )
    assert suggested.numbers["command"] == "celery -A workers recovery trigger shop restart"
    assert suggested.event == "recovery:suggested"


def test_a_suggestion_names_what_could_run_now() -> None:
    seen = facts(platform={"autonomy": "suggest"}, past=[past("restart", 10, Outcome.RESOLVED)])

    verdict = autonomy(seen)

    assert verdict
    assert verdict.numbers["command"] == "celery -A workers recovery trigger shop degrade"


@pytest.mark.parametrize("level", list(Autonomy))
def test_taking_a_remedy_away_again_needs_no_more_autonomy(level: Autonomy) -> None:
    seen = facts(kind=Kind.SCHEDULED, plan=Plan(attempts=(TAKE_AWAY,)), platform={"autonomy": level}, service={"approve": ["degrade"]})

    assert autonomy(seen) is None
    assert approval(seen, TAKE_AWAY) is None


@pytest.mark.parametrize(
    ("platform", "service", "planned", "asks"),
    [
        ({"autonomy": "approve"}, {}, RESTART, True),
        ({}, {"autonomy": "approve"}, RESTART, True),
        ({"autonomy": "approve"}, {"autonomy": "auto"}, RESTART, False),
        ({}, {"approve": ["degrade"]}, RESTART, False),
        ({}, {"approve": ["degrade"]}, DEGRADE, True),
        ({}, {}, RESTART, False),
    ],
)
def test_only_what_the_configuration_names_needs_a_yes(
    platform: dict[str, Any], service: dict[str, Any], planned: PlannedAttempt, asks: bool
) -> None:
    verdict = approval(facts(platform=platform, service=service), planned)

    assert (verdict is not None) is asks
    if verdict:
        assert (verdict.choice, verdict.state, verdict.event) == (
            Choice.DELAY,
            RecoveryState.AWAITING_APPROVAL,
            "recovery:approval_requested",
        )
        assert verdict.until == NOW + timedelta(seconds=900)
        assert verdict.numbers["plan"] == "restart, then degrade"


def asked(until: float, answer: Answer | None = None) -> Approval:
    return Approval("r", T0, at(until), answer, "ann" if answer else "", at(50) if answer else None, "not today" if answer else "")


def test_a_question_that_was_asked_is_not_asked_again_and_lapses() -> None:
    seen = facts(platform={"autonomy": "approve"})

    waits = approval(replace(seen, approval=asked(101)), RESTART)
    lapsed = approval(replace(seen, approval=asked(100)), RESTART)
    approved = approval(replace(seen, approval=asked(60, Answer.APPROVED)), RESTART)

    assert waits
    assert lapsed
    assert (waits.event, waits.until) == ("", at(101))
    assert (lapsed.choice, lapsed.state) == (Choice.ESCALATE, RecoveryState.SUPPRESSED)
    assert approved is None


def test_a_no_cancels_with_who_and_why() -> None:
    verdict = rejected(facts(approval=asked(900, Answer.REJECTED)))

    assert verdict
    assert (verdict.state, verdict.reason, verdict.until) == (RecoveryState.CANCELLED, "rejected by ann: not today", at(900))


@pytest.mark.parametrize(
    ("fleet_of", "platform", "load", "limit"),
    [
        (100, {}, Load(in_progress=25), 25),
        (100, {}, Load(in_progress=20, ahead=5), 25),
        (3, {}, Load(in_progress=1), 1),
        (7, {}, Load(in_progress=1), 1),
        (8, {}, Load(in_progress=2), 2),
        (100, {"max_concurrent_recoveries": 3}, Load(in_progress=3), 3),
        (100, {"budget": {"percent": 5}}, Load(in_progress=5), 5),
        (100, {}, Load(in_progress=10, open=50), 10),
        (100, {"budget": {"storm_percent": 1}}, Load(in_progress=1, open=80), 1),
    ],
)
def test_the_budget_holds_what_it_has_no_room_for(fleet_of: int, platform: dict[str, Any], load: Load, limit: int) -> None:
    full = action_budget(facts(fleet_of=fleet_of, platform=platform, load=load), RESTART)
    room = action_budget(
        facts(fleet_of=fleet_of, platform=platform, load=replace(load, in_progress=load.in_progress - 1)),
        RESTART,
    )

    assert full
    assert (full.choice, full.numbers["limit"]) == (Choice.DELAY, limit)
    assert full.numbers["storm"] is (load.open >= 50)
    assert full.look_at(NOW) == NOW + timedelta(seconds=30)
    assert room is None


def test_the_budget_counts_what_began_within_its_window() -> None:
    platform = {"budget": {"per_window": 10, "window": 600}}

    held = action_budget(facts(fleet_of=100, platform=platform, load=Load(begun=8, ahead=2)), RESTART)

    assert held
    assert (held.numbers["begun"], held.numbers["per_window"]) == (8, 10)
    assert action_budget(facts(fleet_of=100, platform=platform, load=Load(begun=8, ahead=1)), RESTART) is None


def test_what_is_in_progress_has_its_place_in_the_budget() -> None:
    seen = facts(load=Load(in_progress=1))

    assert action_budget(seen, RESTART) is not None
    assert action_budget(replace(seen, recovery=replace(seen.recovery, state=RecoveryState.IN_PROGRESS)), RESTART) is None


def test_a_remedy_that_did_not_help_twice_in_a_row_is_passed_over_for_an_hour() -> None:
    vain = [past("restart", 3_000, Outcome.INEFFECTIVE), past("restart", 600, Outcome.INEFFECTIVE)]

    verdict = ineffective(facts(past=vain), RESTART)

    assert verdict
    assert (verdict.choice, verdict.waits) == (Choice.SKIP, False)
    assert verdict.numbers == {"in_a_row": 2, "limit": 2}
    assert verdict.until == NOW + timedelta(seconds=600)


@pytest.mark.parametrize(
    "history",
    [
        [past("restart", 600, Outcome.INEFFECTIVE)],
        [past("restart", 3_601, Outcome.INEFFECTIVE), past("restart", 600, Outcome.INEFFECTIVE)],
        [past("restart", 900, Outcome.INEFFECTIVE), past("restart", 600, Outcome.INEFFECTIVE), past("restart", 300, Outcome.RESOLVED)],
        [past("restart", 900, Outcome.INEFFECTIVE), past("restart", 600, Outcome.RESOLVED), past("restart", 300, Outcome.INEFFECTIVE)],
        [past("restart", 900, Outcome.INEFFECTIVE), past("degrade", 600, Outcome.INEFFECTIVE)],
        [past("restart", 900, Outcome.INEFFECTIVE), past("restart", 600, Outcome.FAILED)],
        [replace(past("restart", ago, Outcome.INEFFECTIVE), fingerprint="other") for ago in (900, 600)],
    ],
)
def test_a_remedy_that_is_not_proven_useless_gets_its_turn(history: list[Any]) -> None:
    assert ineffective(facts(past=history), RESTART) is None


def test_what_did_not_help_is_forgotten_when_the_service_was_stable() -> None:
    vain = [past("restart", 3_000, Outcome.INEFFECTIVE), past("restart", 600, Outcome.INEFFECTIVE)]
    seen = facts(past=vain)

    assert ineffective(replace(seen, state=ServiceState("shop", stable_since=NOW - timedelta(seconds=1_000))), RESTART) is None


@pytest.mark.parametrize(
    ("fields", "planned"),
    [({"kind": Kind.EMERGENCY}, RESTART), ({"kind": Kind.MANUAL, "force": True}, RESTART), ({"kind": Kind.SCHEDULED}, TAKE_AWAY)],
)
def test_nothing_keeps_an_emergency_a_forced_remedy_or_a_restore_back(fields: dict[str, Any], planned: PlannedAttempt) -> None:
    worn = [past(planned.strategy, ago, Outcome.INEFFECTIVE) for ago in (30, 20, 10)]
    seen = facts(past=worn, locks={planned.strategy: 30.0}, **fields)

    assert [guard(seen, planned) for guard in (attempt_cap, ineffective, cooldown)] == [None, None, None]
