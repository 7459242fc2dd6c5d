"""What is kept of a decision is what pydantic would write, and pydantic reads the very same facts from it."""

import json
from dataclasses import fields, replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from pydantic import TypeAdapter

from recovery.decide.facts import Facts
from recovery.decide.judgement import Judgement
from recovery.decide.plain import plain
from recovery.decide.record import GIVEN, basis_of, facts_of
from recovery.models import (
    Action,
    Answer,
    Approval,
    Attempt,
    AttemptState,
    Failure,
    FailureType,
    Kind,
    Load,
    Outcome,
    ServiceState,
    Silence,
    SilenceKind,
    Status,
)
from tests.world import World


def full_facts() -> Facts:
    """Return facts in which every kind of record occurs, with and without what may be missing."""
    world = World("restart", "degrade")
    recovery, now = world.recovery(world.report()), world.now
    attempt = Attempt(recovery.id, 1, "web", "restart", "restart", Action.APPLY, AttemptState.QUEUED, now)
    done = replace(attempt, state=AttemptState.FINISHED, outcome=Outcome.INEFFECTIVE, started_at=now, finished_at=now, kind=Kind.MANUAL)
    silence = Silence("s1", SilenceKind.MAINTENANCE, now, None, "ann", "because", now, ("web",), {"team": "shop"})
    return Facts(
        now=now,
        fleet=world.fleet,
        service=world.fleet.services["web"],
        installed=frozenset(world.strategies),
        recovery=replace(recovery, due_at=now, message="a secret"),
        failure=Failure(service="web", type=FailureType.PANIC, message="a secret", details={"a": [1]}, labels={"team": "shop"}),
        state=ServiceState("web", Status.UNHEALTHY, 20, since=now, recent="0101", change_rate=12.5),
        dependencies={"db": Status.HEALTHY},
        past=[done, attempt],
        locks={"restart": 1.5},
        silences=[silence, replace(silence, services=(), until=now + timedelta(hours=1), lifted_at=now, lifted_by="bob")],
        blind="nobody looks",
        load=Load(1, 2, 3, 4),
        approval=Approval(recovery.id, now, now + timedelta(minutes=1), Answer.REJECTED, "ann", now, "no"),
    )


FACTS = full_facts()
RECORDS = [FACTS.recovery, FACTS.failure, FACTS.state, *FACTS.past, *FACTS.silences, FACTS.load, FACTS.approval]


@pytest.mark.parametrize("item", RECORDS, ids=lambda item: type(item).__name__)
def test_a_record_as_json_is_what_pydantic_would_write(item: Any) -> None:
    adapter = TypeAdapter(type(item))

    written = json.loads(json.dumps(plain(item)))

    assert adapter.dump_python(adapter.validate_python(written), mode="json") == adapter.dump_python(item, mode="json")
    assert adapter.validate_python(written) == item
    assert [type(value) for value in written.values()] == [type(value) for value in adapter.dump_python(item, mode="json").values()]


def test_moments_are_written_with_their_time_zone() -> None:
    summer = timezone(timedelta(hours=2))
    state = ServiceState("web", since=FACTS.now.astimezone(summer))

    assert TypeAdapter(ServiceState).validate_python(plain(state)) == state


def test_every_fact_that_a_replay_does_not_bring_is_kept() -> None:
    kept = basis_of(FACTS, Judgement(())).facts

    assert {field.name for field in fields(Facts)} - GIVEN <= kept.keys()
    assert "a secret" not in json.dumps(kept)


def test_the_facts_of_a_replay_are_those_of_the_decision() -> None:
    read = facts_of(basis_of(FACTS, Judgement(())), FACTS.fleet, FACTS.installed)

    assert FACTS.failure is not None
    blank = FACTS.failure.model_copy(update={"message": "", "details": {}, "labels": {}})
    assert read == replace(FACTS, recovery=replace(FACTS.recovery, message=""), failure=blank)
