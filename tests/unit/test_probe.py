"""Many probes at once: none hurts another, none outlives its timeout, none raises."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Self

import pytest
from pydantic import BaseModel, ConfigDict

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.probe import FleetProbe, Target, find_target, look_at, meaning, probe_all, share_of
from recovery.detect.shared import borrow, sharing
from recovery.detect.threads import in_thread
from recovery.models import Category, FailureType
from recovery.ports import CheckKind, Finding
from recovery.registry import Registry
from tests.support import eventually


class NoBeats:
    def last(self, service: str) -> datetime | None:
        return None


class NoOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Scripted:
    """A check that does what the test says."""

    act: Callable[[], Awaitable[Finding]]

    async def probe(self) -> Finding:
        return await self.act()


def scripted(act: Callable[[], Awaitable[Finding]], *_: object) -> Scripted:
    return Scripted(act)


def kinds_of(**acts: Callable[[], Awaitable[Finding]]) -> Registry[CheckKind]:
    kinds: Registry[CheckKind] = Registry("check kind")
    for name, act in acts.items():
        kinds.add(name, CheckKind(name, NoOptions, partial(scripted, act)))
    return kinds


def fleet_of(**kinds: str) -> Fleet:
    """One service per keyword, with one check `main` of that kind."""
    services = {
        name: ServiceDeclaration(name=name, checks=(CheckDeclaration.model_validate({"name": "main", "type": kind, "timeout": 0.05}),))
        for name, kind in kinds.items()
    }
    return Fleet(version="1", services=services)


async def well() -> Finding:
    return Finding(ok=True)


async def hang() -> Finding:
    await asyncio.Event().wait()
    raise AssertionError


async def explode() -> Finding:
    raise ZeroDivisionError("by zero")


async def lie() -> Finding:
    return "fine"  # type: ignore[return-value]


async def test_the_broken_the_hung_and_the_unknown_leave_the_others_alone() -> None:
    kinds = kinds_of(well=well, hang=hang, explode=explode, lie=lie)
    fleet = fleet_of(a="well", b="hang", c="explode", d="lie", e="absent")
    names = ["a.main", "b.main", "c.main", "d.main", "e.main", "a.mian"]

    found = await probe_all(kinds, fleet, NoBeats(), names)

    assert list(found) == names
    assert found["a.main"] == Finding(ok=True)
    assert found["b.main"] == Finding(ok=False, message="no answer within 0.05 s", type=FailureType.TIMEOUT)
    assert found["c.main"] == Finding(ok=False, message="by zero", type=FailureType.ERROR)
    assert (found["d.main"].category, found["d.main"].ok) == (Category.UNKNOWN, False)
    assert "unknown check kind 'absent'" in found["e.main"].message
    assert found["a.mian"].message == "no check 'a.mian' is declared, did you mean 'a.main'?"


async def test_no_more_probes_are_in_flight_than_allowed() -> None:
    flying, most = 0, 0

    async def count() -> Finding:
        nonlocal flying, most
        flying, most = flying + 1, max(most, flying + 1)
        await asyncio.sleep(0)
        flying -= 1
        return Finding(ok=True)

    fleet = fleet_of(**{f"s{number}": "count" for number in range(50)})
    targets = [Target(service, service.checks[0]) for service in fleet.services.values()]

    looks = await look_at(kinds_of(count=count), targets, NoBeats(), concurrency=7)

    assert (len(looks), most) == (50, 7)


async def test_waiting_for_a_turn_does_not_count_for_the_timeout() -> None:
    check = CheckDeclaration.model_validate({"name": "main", "type": "slow", "timeout": 1.4})
    targets = [Target(ServiceDeclaration(name=name, checks=(check,)), check) for name in "abcd"]

    async def slow() -> Finding:
        await asyncio.sleep(0.4)
        return Finding(ok=True)

    looks = await look_at(kinds_of(slow=slow), targets, NoBeats(), concurrency=1)

    assert [look.finding.ok for look in looks.values()] == [True] * 4


async def test_what_has_not_answered_at_the_deadline_is_left_out_and_cancelled() -> None:
    cancelled = asyncio.Event()

    async def stay() -> Finding:
        try:
            return await hang()
        finally:
            cancelled.set()

    check = CheckDeclaration.model_validate({"name": "main", "type": "stay", "timeout": 60})
    targets = [Target(ServiceDeclaration(name=name, checks=(check,)), check) for name in ("a", "b")]
    fast = CheckDeclaration.model_validate({"name": "main", "type": "well"})
    targets.append(Target(ServiceDeclaration(name="c", checks=(fast,)), fast))

    looks = await look_at(kinds_of(stay=stay, well=well), targets, NoBeats(), deadline=0.3)

    assert list(looks) == ["c.main"]
    assert cancelled.is_set()


async def test_cancelling_a_round_cancels_its_probes() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def stay() -> Finding:
        begun.set()
        try:
            return await hang()
        finally:
            ended.set()

    check = CheckDeclaration.model_validate({"name": "main", "type": "stay", "timeout": 60})
    round_ = asyncio.create_task(look_at(kinds_of(stay=stay), [Target(ServiceDeclaration(name="a"), check)], NoBeats()))
    await begun.wait()

    round_.cancel()

    with pytest.raises(asyncio.CancelledError):
        await round_
    assert ended.is_set()


def test_a_probe_outside_any_loop_answers_by_name() -> None:
    probe = FleetProbe(kinds_of(well=well), lambda: fleet_of(a="well"), NoBeats())

    assert probe(["a.main"]) == {"a.main": Finding(ok=True)}
    assert probe([]) == {}


def test_names_with_dots_in_them_are_told_apart() -> None:
    check = CheckDeclaration.model_validate({"name": "v1.main", "type": "http"})
    fleet = Fleet(version="1", services={"eu.shop": ServiceDeclaration(name="eu.shop", checks=(check,))})

    found = find_target(fleet, "eu.shop.v1.main")

    assert found is not None
    assert (found.service.name, found.check.name) == ("eu.shop", "v1.main")
    assert find_target(fleet, "eu.shop.v1") is None
    assert find_target(fleet, "eu") is None


def test_what_the_operator_declared_outweighs_the_finding_and_the_kind() -> None:
    kinds = kinds_of(well=well)
    plain = CheckDeclaration.model_validate({"name": "main", "type": "well"})
    told = plain.model_copy(update={"category": Category.NETWORK})
    finding = Finding(ok=False, category=Category.DATABASE)

    assert meaning(kinds, told, finding) is Category.NETWORK
    assert meaning(kinds, plain, finding) is Category.DATABASE
    assert meaning(kinds, plain, Finding(ok=False)) is Category.SERVICE_UNAVAILABLE


def test_the_share_of_a_name_is_the_same_in_every_process() -> None:
    assert share_of("shop.web") == pytest.approx(0.33473, abs=1e-5)
    assert all(0 <= share_of(f"s{number}.main") < 1 for number in range(1_000))


async def test_a_hung_call_fails_at_once_the_next_time_and_gets_no_second_thread() -> None:
    release, calls = threading.Event(), []

    def stuck() -> str:
        calls.append(threading.current_thread())
        release.wait(60)
        return "at last"

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await in_thread("stuck", stuck, 0.01)
    await asyncio.sleep(0.02)  # the first call began after the time limit did
    eventually(lambda: calls)
    with pytest.raises(TimeoutError, match="an earlier call has been running"):
        await in_thread("stuck", stuck, 0.01)
    release.set()
    calls[0].join(60)

    assert len(calls) == 1
    assert await in_thread("stuck", lambda: "fresh", 0.01) == "fresh"


async def test_a_call_in_flight_that_is_not_overdue_is_joined() -> None:
    release, calls = threading.Event(), []

    def work() -> int:
        calls.append(1)
        release.wait(60)
        return 42

    both = [asyncio.create_task(in_thread("joined", work, 60)) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    release.set()

    assert await asyncio.gather(*both) == [42, 42]
    assert len(calls) == 1


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(), ValueError("bad")])
async def test_whatever_is_raised_in_a_thread_arrives_as_an_ordinary_exception(error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises((RuntimeError, ValueError)) as caught:
        await in_thread("raising", fail, 1.0)

    assert type(error).__name__ in f"{type(caught.value).__name__} {caught.value}"


class Thing:
    def __init__(self) -> None:
        self.closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed = True


async def test_a_round_makes_a_shared_thing_once_and_closes_it_at_its_end() -> None:
    async def use() -> Thing:
        async with borrow(Thing) as thing:
            await asyncio.sleep(0)
            assert not thing.closed
            return thing

    async with sharing():
        first, second = await asyncio.gather(use(), use())
        assert not first.closed

    assert first is second
    assert first.closed


async def test_outside_a_round_a_borrowed_thing_is_closed_after_use() -> None:
    async with borrow(Thing) as thing:
        assert not thing.closed

    assert thing.closed
