"""When degradation begins by itself, what it switches off, and how it ends: pure functions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.config.conditions import SERVICE_METRICS, Condition, condition_of
from recovery.config.degradation import CapabilityDeclaration, DegradationRule, FeatureDeclaration
from recovery.degrade.features import SYSTEM, limits, switched_off, worst
from recovery.degrade.ramp import gone_at, left_of, restored, share_of
from recovery.degrade.rules import Standing, judge
from recovery.models import Level

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SIGNS = st.sampled_from(["<", "<=", ">", ">="])
NUMBERS = st.integers(0, 100).map(float)


def rule(**changes: object) -> DegradationRule:
    return DegradationRule.model_validate(
        {"name": "weak", "when": "health_score < 50", "for": 10, "until": "health_score > 65", "calm": 20, "level": "emergency"} | changes
    )


def judged(scores: list[float | None], seconds_apart: float = 5, of: DegradationRule | None = None) -> list[bool]:
    """Return whether the rule is in force after each score."""
    standing, found = Standing(), []
    for number, score in enumerate(scores):
        facts = {} if score is None else {"health_score": score}
        standing = judge(of or rule(), standing, facts, NOW + timedelta(seconds=seconds_apart * number))
        found.append(standing.in_force)
    return found


# --- conditions ---


def test_a_condition_is_read_as_it_is_written() -> None:
    assert condition_of(" health_score<= 50.5 ", SERVICE_METRICS) == Condition("health_score", "<=", 50.5, 100.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("health_score = 50", "must be a metric, one of < <= > >="),
        ("health_score < many", "must be a metric, one of < <= > >="),
        ("helth_score < 50", "unknown metric 'helth_score', did you mean 'health_score'?"),
    ],
)
def test_a_condition_that_cannot_be_read_is_told_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        condition_of(text, SERVICE_METRICS)


@given(SIGNS, NUMBERS, SIGNS, NUMBERS)
def test_two_conditions_exclude_each_other_when_no_value_meets_both(sign: str, number: float, other_sign: str, other_number: float) -> None:
    one, other = Condition("health_score", sign, number), Condition("health_score", other_sign, other_number)
    values = [half / 2 for half in range(-2, 203)]
    both = any(one.met_by(value) and other.met_by(value) for value in values)

    if one.excludes(other):
        assert not both
    elif sign[0] != other_sign[0]:
        assert both or number == other_number or abs(number - other_number) < 1


@given(SIGNS, st.integers(1, 100).map(float))
def test_the_default_to_let_go_never_overlaps(sign: str, number: float) -> None:
    condition = Condition("health_score", sign, number, 100.0)

    assert condition.excludes(condition.relieved())


@pytest.mark.parametrize(
    ("when", "until"),
    [
        ("health_score < 50", "health_score > 55"),
        ("health_score < 95", "health_score >= 100"),
        ("health_score < 100", "health_score >= 100"),
        ("open_recoveries > 0", "open_recoveries <= 0"),
        ("open_recoveries >= 1", "open_recoveries < 0.9"),
        ("open_recoveries < 500", "open_recoveries > 550"),
    ],
)
def test_the_default_to_let_go_is_something_that_can_happen(when: str, until: str) -> None:
    assert str(rule(when=when, until=None).until_condition) == until


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"when": "health_score < 0"}, r"health_score < 0 can never hold: health_score is from 0 to 100"),
        ({"when": "health_score > 100", "until": None}, r"health_score > 100 can never hold"),
        ({"until": "health_score > 100"}, r"health_score > 100 can never hold"),
        ({"when": "open_recoveries > 2", "until": "open_recoveries < 0"}, r"open_recoveries < 0 can never hold: .* is 0 or more"),
        ({"when": "health_score <= 100", "until": None}, r"health_score <= 100 always holds"),
    ],
)
def test_a_rule_that_could_never_begin_or_end_is_refused(conditions: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rule(**conditions)


def test_a_rule_that_would_never_rest_is_refused() -> None:
    with pytest.raises(ValueError, match=r"health_score > 40 must be on the other side of when \(health_score < 50\)"):
        rule(until="health_score > 40")


# --- rules ---


def test_a_rule_waits_until_its_condition_has_held_long_enough() -> None:
    assert judged([40, 40, 40, 40]) == [False, False, True, True]


def test_a_break_starts_the_wait_again() -> None:
    assert judged([40, 40, 60, 40, 40, 40]) == [False, False, False, False, False, True]


def test_between_the_two_conditions_nothing_changes() -> None:
    assert judged([40, 40, 40, 55, 60, 65, 55, 60, 64]) == [False, False] + [True] * 7


def test_it_lets_go_after_a_calm_time_on_the_other_side() -> None:
    assert judged([40, 40, 40, 70, 70, 70, 70, 70, 70]) == [False, False, True, True, True, True, True, False, False]


def test_facts_that_nobody_measured_change_nothing() -> None:
    assert judged([40, 40, 40, None, None, 70, 70, None, 70, 70, 70, 70, 70]) == [False, False] + [True] * 10 + [False]


@given(st.lists(st.one_of(st.none(), st.integers(0, 100).map(float)), max_size=40))
def test_it_never_begins_on_a_good_score_nor_ends_on_a_bad_one(scores: list[float | None]) -> None:
    states = [False, *judged(scores)]

    for before, after, score in zip(states, states[1:], scores, strict=False):
        if after and not before:
            assert score is not None
            assert score < 50
        if before and not after:
            assert score is not None
            assert score > 65


# --- what a level costs ---


def test_each_level_switches_off_a_quarter_of_the_priorities() -> None:
    features = {f"p{priority}": FeatureDeclaration(priority=priority) for priority in (10, 30, 60, 90, 100)}

    off = {level: switched_off(features, "shop", level) for level in Level}

    assert off == {
        Level.NORMAL: (),
        Level.PARTIAL: ("p10",),
        Level.LIMITED: ("p10", "p30"),
        Level.MINIMAL: ("p10", "p30", "p60"),
        Level.EMERGENCY: ("p10", "p30", "p60", "p90"),
    }


def test_a_feature_may_name_its_level_and_its_service() -> None:
    features = {"facets": FeatureDeclaration(priority=100, off_from=Level.LIMITED, service="search")}

    assert switched_off(features, "search", Level.PARTIAL) == ()
    assert switched_off(features, "search", Level.MINIMAL) == ("facets",)
    assert switched_off(features, "shop", Level.EMERGENCY) == ()
    assert switched_off(features, SYSTEM, Level.LIMITED) == ("facets",)


def test_a_level_left_out_leaves_what_the_next_milder_does() -> None:
    capabilities = {"workers": CapabilityDeclaration(limited=50, emergency=10)}

    left = [limits(capabilities, "shop", level).get("workers") for level in Level]

    assert left == [None, None, 50, 50, 10]


def test_the_worst_level_counts() -> None:
    assert worst([Level.PARTIAL, Level.MINIMAL, Level.LIMITED]) is Level.MINIMAL
    assert worst([]) is Level.NORMAL


# --- the end ---


def test_the_ramp_follows_the_end_by_itself() -> None:
    at = [restored(100 + second, 110, (10, 50), 5) for second in (0, 9.9, 10, 14.9, 15, 19.9, 20, 1_000)]

    assert at == [0, 0, 10, 10, 50, 50, 100, 100]
    assert gone_at(110, (10, 50), 5) == 120


def test_without_a_ramp_it_is_gone_at_once() -> None:
    assert (restored(109.9, 110, (), 5), restored(110, 110, (), 5)) == (0, 100)


@given(st.integers(0, 100), st.lists(st.integers(1, 99), unique=True).map(sorted), st.floats(0.1, 100))
def test_a_capability_only_rises_while_it_comes_back(left: int, ramp: list[int], stage: float) -> None:
    moments = [10 + stage * (place + 0.5) for place in range(-1, len(ramp) + 1)]

    stood = [left_of(left, restored(moment, 10, ramp, stage)) for moment in moments]

    assert stood == sorted(stood)
    assert stood[0] == left
    assert stood[-1] == 100


def test_callers_are_spread_evenly_and_differently_for_each_feature() -> None:
    callers = [f"user-{number}" for number in range(10_000)]

    first = {caller for caller in callers if share_of(caller, "facets") < 10}
    second = {caller for caller in callers if share_of(caller, "suggestions") < 10}

    assert 850 <= len(first) <= 1_150
    assert 850 <= len(second) <= 1_150
    assert len(first & second) <= 300
