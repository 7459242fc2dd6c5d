"""Silences, deploy markers and the kill switch: who is covered, what is refused, and that recoveries go on when they end."""

from datetime import timedelta
from typing import Any

import pytest

from recovery.config.fleet import MaintenanceDeclaration
from recovery.engine.silencing import Silencing, Wish
from recovery.errors import PauseUnchanged, RecoveryError, ServiceNotFound, SilenceInvalid, SilenceNotFound, UnknownName
from recovery.models import Kind, Outcome, SilenceKind
from recovery.ports import Done, Wait
from tests.world import World


def place(**service: Any) -> tuple[World, Silencing]:
    world = World("restart", **service)
    return world, Silencing(world.store, lambda: world.fleet, world.clock)


def wish(world: World, seconds: float = 60, **fields: object) -> Wish:
    values: dict[str, object] = {"by": "ada", "reason": "new disks", "until": world.now + timedelta(seconds=seconds), "services": ("web",)}
    return Wish(**values | fields)  # type: ignore[arg-type]


def events(world: World) -> list[str]:
    return [event.name for event in world.store.events]


def test_a_silence_holds_a_recovery_and_lifting_it_lets_it_go_on_at_once() -> None:
    world, silencing = place()
    put = silencing.put(wish(world, 600))
    recovery_id = world.report()
    assert isinstance(world.advance(recovery_id), Wait)
    world.later(5)

    lifted = silencing.lift(put.id[:8], "bob")

    assert (lifted.lifted_at, lifted.lifted_by) == (world.now, "bob")
    assert world.store.due(world.now, 10) == [recovery_id]
    assert world.run(recovery_id) == Done(recovery_id, Outcome.RESOLVED)
    assert {"silence:put", "silence:lifted"} <= set(events(world))
    assert [(row.action, row.actor) for row in world.store.audits] == [("silence_put", "ada"), ("silence_lifted", "bob")]


def test_a_silence_by_label_covers_the_services_that_bear_it() -> None:
    world, silencing = place(labels={"team": "payments", "tier": "1"})

    put = silencing.put(wish(world, services=(), labels={"team": "payments"}))

    assert put.covers("web", world.fleet.services["web"].labels)
    assert not put.covers("db", world.fleet.services["db"].labels)


def test_the_kill_switch_holds_everything_but_an_emergency_until_it_is_turned_back() -> None:
    world, silencing = place()
    silencing.pause("ada", "the network is rebuilt")
    held = world.report()
    assert isinstance(world.advance(held), Wait)

    with pytest.raises(PauseUnchanged, match="paused already by ada since 2026-01-01 12:00:00 UTC: the network is rebuilt"):
        silencing.pause("bob", "")
    by_hand = world.desk.trigger("db", "restart", kind=Kind.EMERGENCY, force=True)
    assert world.run(by_hand.recovery.id) == Done(by_hand.recovery.id, Outcome.RESOLVED)
    silencing.resume("bob")
    with pytest.raises(PauseUnchanged, match="nothing is paused"):
        silencing.resume("bob")

    assert world.run(held) == Done(held, Outcome.RESOLVED)
    assert [name for name in events(world) if name.startswith("platform:")] == ["platform:paused", "platform:resumed"]


def test_a_deploy_is_marked_per_service_and_ended_per_service() -> None:
    world, silencing = place()

    web, db = silencing.deploy(wish(world, services=("web", "db")))
    ended = silencing.deployed(["web"], "ada")

    assert [each.id for each in ended] == [web.id]
    assert [(each.id, each.kind) for each in silencing.all()] == [(db.id, SilenceKind.DEPLOY)]
    with pytest.raises(SilenceNotFound, match="no deploy of web is marked"):
        silencing.deployed(["web"], "ada")


def test_the_same_message_twice_is_one_silence() -> None:
    world, silencing = place()

    first = silencing.put(wish(world, id="from-a-message"))
    world.later(5)
    second = silencing.put(wish(world, 600, id="from-a-message"))

    assert second == first
    assert len(silencing.all()) == 1


def test_declared_windows_are_listed_and_cannot_be_lifted() -> None:
    world, silencing = place()
    starts, ends = world.now + timedelta(hours=1), world.now + timedelta(hours=2)
    window = MaintenanceDeclaration(name="backup", starts=starts, ends=ends)
    world.fleet = world.fleet.model_copy(update={"maintenance": (window,)})

    (listed,) = silencing.all()

    assert (listed.kind, listed.since, listed.until) == (SilenceKind.MAINTENANCE, starts, ends)
    with pytest.raises(SilenceInvalid, match=r"is declared in recovery.toml: change it there"):
        silencing.lift(listed.id, "ada")


def test_what_is_over_cannot_be_lifted() -> None:
    world, silencing = place()
    put = silencing.put(wish(world, 60))
    world.later(61)

    with pytest.raises(SilenceNotFound, match=f"no silence with the id '{put.id}' is in force or to come"):
        silencing.lift(put.id, "ada")


@pytest.mark.parametrize(
    ("fields", "kind", "sentence"),
    [
        ({"services": ("wep",)}, ServiceNotFound, "no service 'wep' is declared, did you mean 'web'?"),
        ({"services": (), "labels": {"team": "paymnts"}}, UnknownName, "bears the label team=paymnts, did you mean 'team=payments'?"),
        ({"services": ()}, SilenceInvalid, "name the services or labels"),
        ({"everything": True}, SilenceInvalid, "either name services or labels"),
        ({"reason": " \n"}, SilenceInvalid, "needs a reason"),
        ({"by": ""}, SilenceInvalid, "needs an author"),
        ({"seconds": 0}, SilenceInvalid, "must end after it begins"),
        ({"seconds": 86_400 * 32}, SilenceInvalid, "31 days at most"),
        ({"since": timedelta(hours=-1)}, SilenceInvalid, "cannot begin in the past"),
        ({"since": timedelta(days=400), "seconds": 86_400 * 401}, SilenceInvalid, "must begin within 366 days"),
    ],
)
def test_a_wrong_wish_is_refused_in_one_sentence_and_nothing_is_put(
    fields: dict[str, object], kind: type[RecoveryError], sentence: str
) -> None:
    world, silencing = place(labels={"team": "payments"})
    since = fields.get("since")
    moved = {"since": world.now + since} if isinstance(since, timedelta) else {}

    for put in (silencing.put, silencing.deploy):
        with pytest.raises(kind) as refused:
            put(wish(world, **fields | moved))  # type: ignore[arg-type]
        assert sentence in refused.value.message
    assert silencing.all() == []
    assert world.store.audits == []
