"""Which strategies a plan has, in which order, and why others are left out."""

import pytest

from recovery.decide.planner import DEFAULT_PLANS, plan
from recovery.models import Category
from tests.world import World


def test_every_category_has_a_default_plan_that_ends_in_something() -> None:
    assert set(DEFAULT_PLANS) == set(Category)
    assert all(DEFAULT_PLANS.values())


def test_the_default_plan_leaves_out_what_cannot_help_and_says_why() -> None:
    world = World("circuit_reset", "restart", plan={})
    world.strategies["circuit_reset"].refusal = "no breaker is declared"

    made = plan(world.fleet.services["web"], Category.SERVICE_UNAVAILABLE, world.registry)

    assert [attempt.strategy for attempt in made.attempts] == ["restart"]
    assert [(left.strategy, left.why) for left in made.left_out] == [
        ("circuit_reset", "no breaker is declared"),
        ("degrade", "no such strategy is installed"),
    ]


def test_a_service_may_override_its_plan() -> None:
    world = World("restart", "reload", plan={"memory_pressure": ("reload", "restart")})

    made = plan(world.fleet.services["web"], Category.MEMORY_PRESSURE, world.registry)

    assert [attempt.strategy for attempt in made.attempts] == ["reload", "restart"]
    assert made.source == "service"
    assert made.attempts[0].priority > made.attempts[1].priority


def test_strategies_of_later_versions_are_left_out_by_name() -> None:
    world = World("restart", plan={"queue_backlog": ("scale", "restart")})

    made = plan(world.fleet.services["web"], Category.QUEUE_BACKLOG, world.registry, later=("scale",))

    assert made.left_out[0].why == "not part of this version"


@pytest.mark.parametrize(("known", "expected"), [(None, 3.0), (1.25, 1.25)])
def test_the_estimate_comes_from_history_else_from_the_strategy(known: float | None, expected: float) -> None:
    world = World("restart")

    made = plan(world.fleet.services["web"], Category.SERVICE_UNAVAILABLE, world.registry, estimate=lambda _service, _strategy: known)

    assert made.estimated_seconds == expected


def test_the_rollback_names_what_would_stay_in_place() -> None:
    world = World("restart", "degrade")

    made = plan(world.fleet.services["web"], Category.SERVICE_UNAVAILABLE, world.registry)

    assert made.rollback == ("degrade",)
