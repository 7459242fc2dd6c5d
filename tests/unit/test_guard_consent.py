"""How much the platform may do by itself: autonomy, approval, severity, and what a person's word passes over."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recovery.decide.facts import Facts
from recovery.decide.guards.holding import action_budget, approval, blind, dependency_down, flapping, silenced
from recovery.decide.guards.leaving import autonomy, dry_run, rejected, severity_policy, unmanaged, unrecoverable
from recovery.models import (
    Answer,
    Approval,
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
    SilenceKind,
    Status,
)
from tests.facts import DEGRADE, NOW, RESTART, TAKE_AWAY, facts, past, silence
from tests.rows import T0, at


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


@pytest.mark.parametrize("kind", list(Kind))
def test_only_what_nobody_asked_for_stops_at_a_failure_that_no_recovery_can_mend(kind: Kind) -> None:
    hopeless = Failure(service="shop", recoverable=False)

    assert (unrecoverable(facts(kind=kind, failure=hopeless)) is not None) is (kind is Kind.AUTOMATIC)


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
    assert suggested.numbers["command"] == "recovery trigger shop restart"
    assert suggested.event == "recovery:suggested"


def test_a_suggestion_names_what_could_run_now() -> None:
    seen = facts(platform={"autonomy": "suggest"}, past=[past("restart", 10, Outcome.RESOLVED)])

    verdict = autonomy(seen)

    assert verdict
    assert verdict.numbers["command"] == "recovery trigger shop degrade"


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
