"""What holds a recovery back for a while: each guard's objection, its numbers and its end."""

from dataclasses import replace
from datetime import timedelta

import pytest

from recovery.config.fleet import MaintenanceDeclaration
from recovery.decide.guards.holding import dependency_down, flapping, kill_switch, silenced
from recovery.models import (
    Choice,
    Kind,
    ServiceState,
    Silence,
    SilenceKind,
    Status,
)
from tests.facts import NOW, facts, silence
from tests.rows import T0, at

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
