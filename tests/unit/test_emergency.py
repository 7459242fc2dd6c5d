"""Emergencies: one process does what the platform would, under the same leases, and never beside a live worker."""

from collections.abc import Callable, Collection
from datetime import timedelta
from typing import NoReturn

import pytest

from recovery.engine.coordinator import Coordinator
from recovery.engine.desk import Desk
from recovery.engine.emergency import Emergency
from recovery.engine.executor import Executor
from recovery.engine.unaided import FreeCooldowns, unaided
from recovery.errors import ServiceBusy, ServiceNotFound, StoreUnavailable
from recovery.models import Answer, AttemptState, Kind, Lease, Outcome, Recovery, RecoveryState
from recovery.ports import Execute
from tests.world import World


class NoRedis:
    """Cooldown locks that cannot be reached; counts how often somebody tried."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, service: str, strategy: str, holder: str, seconds: float) -> bool:
        self._away()

    def remaining(self, service: str, strategies: Collection[str]) -> dict[str, float]:
        self._away()

    def release(self, service: str, strategy: str, holder: str) -> None:
        self._away()

    def _away(self) -> NoReturn:
        self.asked += 1
        raise StoreUnavailable("Redis did not answer: connection refused")


class Scene:
    """A world and an emergency in it, without Redis; `meanwhile` is called at each pause."""

    def __init__(self, *strategies: str, platform: dict[str, object] | None = None, **service: object) -> None:
        self.world = world = World(*strategies, platform=platform, **service)
        self.redis = NoRedis()
        self.said: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None
        registry = unaided(world.registry)
        coordinator = Coordinator(world.store, FreeCooldowns(self.redis), registry, lambda: world.fleet, world.clock)
        executor = Executor(world.store, registry, lambda: world.fleet, world._probe, world.clock, "emergency")
        desk = Desk(world.store, registry, lambda: world.fleet, world.clock)
        self.ended: list[str] = []
        self.emergency = Emergency(
            world.store, coordinator, executor, desk, world.clock, pause=self._pause, say=self.said.append, ended=self.ended.append
        )

    def recover(self, strategy: str | None = None) -> Recovery:
        return self.emergency.carry_out(self.emergency.begin("web", strategy, "ada").id)

    def hold(self, recovery_id: str, seconds: float = 10) -> Lease:
        """Let a worker hold the service."""
        lease = self.world.store.acquire_lease(
            "web", recovery_id, "recover@host:7", self.world.now, self.world.now + timedelta(seconds=seconds)
        )
        assert lease is not None
        return lease

    def _pause(self, seconds: float) -> None:
        self.world.later(seconds)
        self.meanwhile()


def test_a_service_is_recovered_without_redis_and_it_is_asked_only_once() -> None:
    scene = Scene("restart")

    closed = scene.recover()

    assert (closed.kind, closed.outcome, closed.force) == (Kind.EMERGENCY, Outcome.RESOLVED, True)
    assert scene.world.ledger == ["restart.one", "restart.two"]
    assert scene.redis.asked <= 1
    assert [row.action for row in scene.world.store.audits] == ["emergency"]


def test_a_remedy_that_needs_redis_fails_in_one_sentence_and_the_next_one_is_tried() -> None:
    scene = Scene("restart", "degrade")
    scene.world.strategies["restart"].during["one"] = lambda: scene.redis.release("", "", "")

    closed = scene.recover()

    first, second = scene.world.store.attempts(closed.id)
    assert (first.outcome, first.reason) == (Outcome.FAILED, "Redis did not answer: connection refused")
    assert (second.strategy, second.outcome) == ("degrade", Outcome.MITIGATED)
    assert closed.state is RecoveryState.SUCCEEDED


def test_an_emergency_passes_over_cooldown_cap_pause_and_question() -> None:
    scene = Scene("restart", platform={"cooldown": 300, "max_attempts": 1}, autonomy="approve")
    scene.recover()

    assert scene.recover().outcome is Outcome.RESOLVED
    assert scene.world.ledger == ["restart.one", "restart.two"] * 2


def test_a_recovery_that_waits_is_taken_over_with_its_history() -> None:
    scene = Scene("restart", autonomy="approve")
    waiting = scene.world.report()
    scene.world.advance(waiting)

    closed = scene.recover()

    assert (closed.id, closed.kind, closed.outcome) == (waiting, Kind.EMERGENCY, Outcome.RESOLVED)
    overtaken = [event for event in scene.world.store.events if event.name == "recovery:overtaken"]
    assert [event.data for event in overtaken] == [{"was": "automatic", "held_by": "approval", "by": "ada"}]


def test_a_message_that_nobody_took_is_carried_out_here_at_once() -> None:
    scene = Scene("restart")
    sent = scene.world.report()
    assert isinstance(scene.world.advance(sent), Execute)
    before = scene.world.now

    closed = scene.recover()

    assert (closed.id, closed.outcome) == (sent, Outcome.RESOLVED)
    assert (scene.world.now - before).total_seconds() < 5
    assert scene.world.ledger == ["restart.one", "restart.two"]


def test_a_live_worker_is_named_and_left_alone() -> None:
    scene = Scene("restart")
    begun = scene.world.report()
    scene.world.advance(begun)
    lease = scene.hold(begun)
    scene.world.store.begin_attempt(lease, 1, scene.world.now)
    scene.meanwhile = lambda: scene.world.store.renew_lease(lease, scene.world.now + timedelta(seconds=10))

    with pytest.raises(ServiceBusy, match=r"recover@host:7 is at work on web .* and alive: it renews its lease. Nothing was done here"):
        scene.recover()

    assert scene.world.ledger == []
    assert scene.said == ["recover@host:7 holds the lease on web until 12:00:10 UTC: waiting whether it is alive"]
    row = scene.world.store.recovery(begun)
    assert row is not None
    assert row.kind is Kind.AUTOMATIC


def test_a_dead_worker_is_waited_out_and_its_finished_steps_are_not_repeated() -> None:
    scene = Scene("restart")
    world = scene.world

    def die() -> None:
        raise KeyboardInterrupt

    world.strategies["restart"].during["two"] = die
    begun = world.report()
    directive = world.advance(begun)
    with pytest.raises(KeyboardInterrupt):
        world.execute(directive)
    scene.hold(begun)  # as it stands after kill -9, which releases nothing
    del world.strategies["restart"].during["two"]
    world.strategies["restart"].took_effect = lambda step: step == "two"

    closed = scene.recover()

    assert (closed.id, closed.outcome) == (begun, Outcome.RESOLVED)
    assert world.ledger == ["restart.one", "restart.two"]
    assert world.store.attempts(begun)[0].runs == 2


def test_a_claim_from_before_the_clock_was_set_back_is_not_waited_out() -> None:
    scene = Scene("restart")
    begun = scene.world.report()
    scene.world.advance(begun)
    scene.hold(begun)
    scene.world.later(-3_600)
    before = scene.world.now

    closed = scene.recover()

    assert (closed.id, closed.outcome) == (begun, Outcome.RESOLVED)
    assert (scene.world.now - before).total_seconds() < 60


def test_what_does_something_else_is_cancelled_first() -> None:
    scene = Scene("restart", "degrade")
    first = scene.world.report()
    scene.world.advance(first)

    closed = scene.recover("degrade")

    before = scene.world.store.recovery(first)
    assert before is not None
    assert (before.state, before.reason) == (RecoveryState.CANCELLED, "an emergency recovery by ada takes its place")
    assert scene.world.store.attempts(first)[0].state is AttemptState.SKIPPED
    assert closed.id != first
    assert scene.world.ledger == ["degrade.one", "degrade.two"]
    assert scene.ended == [first, closed.id], "callers who wait for either are told"


def test_a_recovery_that_somebody_rejected_is_not_taken_over() -> None:
    scene = Scene("restart", autonomy="approve")
    asked = scene.world.report()
    scene.world.advance(asked)
    scene.world.store.answer(asked, Answer.REJECTED, "bob", "", scene.world.now)

    closed = scene.recover()

    assert closed.id != asked
    assert closed.outcome is Outcome.RESOLVED


def test_dry_run_and_unmanaged_services_stay_untouched_in_an_emergency() -> None:
    for scene in (Scene("restart", dry_run=True), Scene("restart", managed=False)):
        assert scene.recover().state is RecoveryState.SUPPRESSED
        assert scene.world.ledger == []


def test_a_platform_that_works_on_the_same_recovery_does_not_make_it_act_twice() -> None:
    scene = Scene("restart")
    begun = scene.emergency.begin("web", None, "ada")
    directive = scene.world.advance(begun.id)  # the tick of a live platform was faster ...
    scene.world.strategies["restart"].during["one"] = lambda: assert_nothing(scene.world.worker("worker-2").run(begun.id, 1))

    closed = scene.emergency.carry_out(begun.id)

    assert isinstance(directive, Execute)
    assert closed.outcome is Outcome.RESOLVED
    assert scene.world.ledger == ["restart.one", "restart.two"]
    assert scene.world.execute(directive) is None  # ... and its message comes late


def assert_nothing(value: object) -> None:
    assert value is None


def test_an_unknown_service_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ServiceNotFound, match="did you mean 'web'"):
        Scene("restart").emergency.begin("wep", None, "ada")


def test_without_the_database_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene("restart")

    def gone(_service: str) -> NoReturn:
        raise StoreUnavailable("the database did not answer")

    monkeypatch.setattr(scene.world.store, "lease_of", gone)

    with pytest.raises(StoreUnavailable):
        scene.recover()
    assert scene.world.ledger == []
