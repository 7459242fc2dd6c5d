"""What keeps single remedies back, the room in the budget, and the order of all guards."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from recovery.decide.guards import SERVICE_GUARDS, START_GUARDS, STRATEGY_GUARDS
from recovery.decide.guards.holding import action_budget
from recovery.decide.guards.remedies import attempt_cap, cooldown, ineffective
from recovery.models import (
    Choice,
    Kind,
    Load,
    Outcome,
    PlannedAttempt,
    RecoveryState,
    ServiceState,
)
from recovery.store.rules import repeat_key
from tests.facts import NOW, RESTART, TAKE_AWAY, facts, past


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


def test_a_long_wait_for_the_budget_is_one_decision_however_its_numbers_change() -> None:
    loads = [Load(in_progress=1), Load(in_progress=2, ahead=3), Load(in_progress=1, ahead=1)]
    seen = facts()
    verdicts = [action_budget(replace(seen, load=load), RESTART) for load in loads]

    assert len({repeat_key(verdict.decision(seen)) for verdict in verdicts if verdict}) == 1
    assert all(verdicts)


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
