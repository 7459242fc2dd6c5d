"""`recovery trigger` says what became of the request: begun, held and by whom, rehearsed, left alone, or merged."""

import json
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import pytest
from click.testing import CliRunner

from recovery.errors import StoreUnavailable
from recovery.models import Recovery, SilenceKind
from recovery.ports import Intake
from tests.world import World
from workers.cli import act, parts
from workers.cli import recovery as command_line
from workers.intake import answer

Trigger = Callable[..., list[str]]


class Reached:
    """Stands for the parts of a command that reaches the database of `world`."""

    def __init__(self, store: object) -> None:
        self.store = store

    def require_service(self, name: str) -> None:
        assert name == "web"


@pytest.fixture
def world() -> World:
    return World("restart", "degrade", cooldown={"restart": 600})


@pytest.fixture
def trigger(world: World, monkeypatch: pytest.MonkeyPatch) -> Trigger:
    """Return what runs the command in `world`, whose worker takes the request at once, and returns its lines."""

    def ask(_task: str, request: dict[str, Any]) -> dict[str, Any]:
        request.pop("by")
        with redirect_stdout(StringIO()):  # the log of the worker is not what the command prints
            accepted = world.desk.trigger(request.pop("service"), request.pop("strategy"), **request)
            if accepted.intake is Intake.OPENED:
                world.advance(accepted.recovery.id)
        return dict(answer(accepted))

    def run(*arguments: str, strategy: Sequence[str] = ("restart",), code: int = 0) -> list[str]:
        done = CliRunner().invoke(command_line, ["trigger", "web", *strategy, *arguments])
        assert done.exit_code == code, done.output
        return done.output.splitlines()

    monkeypatch.setattr(parts, "Parts", lambda: Reached(world.store))
    monkeypatch.setattr(act, "ask", ask)
    return run


def the_one(world: World) -> Recovery:
    (found,) = world.store.open_recoveries()
    return found


def test_what_begins_has_begun(world: World, trigger: Trigger) -> None:
    told = trigger()

    opened = the_one(world)
    assert told == [f"Recovery {opened.id} of web has begun: restart.", f"Follow it with `recovery show {opened.id[:8]}`."]


def test_what_the_kill_switch_holds_waits_and_says_who_pulled_it_and_what_to_do(world: World, trigger: Trigger) -> None:
    world.silence(SilenceKind.KILL_SWITCH)

    told = trigger()

    opened = the_one(world)
    assert told[0] == f"Recovery {opened.id} of web waits and has not begun: restart."
    assert told[1].startswith("Held by kill_switch: kill switch by ann, until somebody lifts it: because.")
    assert told[2] == "`recovery resume` lets it go on; --force passes over the pause."
    assert not any("has begun" in line for line in told)


def test_what_is_said_to_do_about_a_pause_is_true(world: World, trigger: Trigger) -> None:
    world.silence(SilenceKind.KILL_SWITCH)
    trigger()

    told = trigger("--force")

    assert told[0] == f"Recovery {the_one(world).id} of web has begun: restart."


def test_what_cools_down_waits_until_when_it_says(world: World, trigger: Trigger) -> None:
    trigger()
    opened = the_one(world)
    world.executor.run(opened.id, 1)
    world.run(opened.id)

    told = trigger()

    assert told[0].endswith("waits and has not begun: restart.")
    assert "restart on web is cooling down" in told[1]
    assert "It is looked at again at " in told[1]
    assert told[2] == "--force passes over the cooldown."
    assert trigger("--force")[0].endswith("has begun: restart.")


@pytest.mark.parametrize("paused", [False, True])
def test_a_dry_run_says_what_would_be_done_and_that_nothing_is(world: World, trigger: Trigger, paused: bool) -> None:
    if paused:
        world.silence(SilenceKind.KILL_SWITCH)

    told = trigger("--dry-run")

    assert told[0].endswith("of web is a dry run, nothing is touched: restart.")
    assert told[1:] == ["It is suppressed: dry run (recovery): would run restart."]
    assert world.store.open_recoveries() == []


def test_a_dry_run_beside_an_open_recovery_names_that(world: World, trigger: Trigger) -> None:
    trigger()

    told = trigger("--dry-run")

    assert f"would run restart; the manual recovery {the_one(world).id[:8]} is in_progress now." in told[1]


def test_what_is_left_alone_does_not_begin(world: World, trigger: Trigger) -> None:
    world.change("web", managed=False)

    told = trigger(code=4)

    assert told[0].endswith("of web does not begin: restart.")
    assert told[1:] == ["It is suppressed: web is declared managed = false: it is watched, not touched."]


@pytest.mark.parametrize("level", ["service", "platform"])
def test_a_dry_run_that_nobody_asked_for_says_so_and_a_script_sees_that_nothing_is_done(world: World, trigger: Trigger, level: str) -> None:
    world.change("web" if level == "service" else "", dry_run=True)

    told = trigger(code=4)

    assert told[0].endswith("of web is a dry run, nothing is touched: restart.")
    assert told[1:] == [f"It is suppressed: dry run ({level}): would run restart."]
    assert json.loads("\n".join(trigger("--json", code=4)))["state"] == "suppressed"


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_where_nothing_can_be_done_a_script_sees_that(world: World, trigger: Trigger, more: tuple[str, ...]) -> None:
    for strategy in world.strategies.values():
        strategy.refusal = "it has no driver"

    told = trigger(*more, strategy=(), code=3)

    if more:
        assert json.loads("\n".join(told))["state"] == "failed"
    else:
        assert told[0].endswith("of web does not begin: nothing that can be done.")
        assert told[1].startswith("It has failed: nothing could be tried")
        assert len(told) == 2, "there is nothing to follow"


@pytest.mark.parametrize(("paused", "standing"), [(False, "It is under way: attempt 1: restart."), (True, "Held by kill_switch: ")])
def test_what_is_merged_says_into_which_and_how_that_stands(world: World, trigger: Trigger, paused: bool, standing: str) -> None:
    if paused:
        world.silence(SilenceKind.KILL_SWITCH)
    trigger()

    told = trigger()

    assert told[0] == f"A recovery of web is open already, the request was merged into it: {the_one(world).id} (restart)."
    assert told[1].startswith(standing)


def test_json_has_how_it_stands(world: World, trigger: Trigger) -> None:
    world.silence(SilenceKind.KILL_SWITCH)

    found = json.loads("\n".join(trigger("--json")))

    assert (found["intake"], found["state"], found["held_by"], found["outcome"]) == ("opened", "pending", "kill_switch", None)
    assert found["reason"].startswith("kill switch by ann")
    assert found["due_at"].endswith("Z")


def test_a_database_that_is_away_by_then_does_not_undo_the_request(trigger: Trigger, monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        def recovery(self, _id: str) -> None:
            raise StoreUnavailable

    monkeypatch.setattr(parts, "Parts", lambda: Reached(Away()))

    assert trigger()[0].endswith("of web was taken in: restart.")
