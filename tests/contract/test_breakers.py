"""Breakers keep the same promises to the platform in memory and in Redis."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recovery.breaker import BreakerOptions, MemoryBreakers, RedisBreakers
from recovery.breaker.fleet import Ended
from recovery.breaker.shared import SharedCircuits
from recovery.errors import StoreUnavailable
from recovery.models import BreakerOrder, BreakerState, BreakerView
from recovery.ports import Breakers
from tests.support import eventually

OPTIONS = BreakerOptions(jitter=0.0)


class Board(Breakers, Protocol):
    """The port, and calls of a service."""

    def count(self, name: str, *, ok: bool, reason: str = "") -> BreakerView: ...


class RedisBoard(RedisBreakers):
    """The board with a caller beside it."""

    def __init__(self, redis: Redis, options: BreakerOptions) -> None:
        super().__init__(redis)
        self.circuits = SharedCircuits(redis, "caller")
        self.options = options

    def count(self, name: str, *, ok: bool, reason: str = "") -> BreakerView:
        self.circuits.tell(name, self.options, [Ended("ok" if ok else "failed", reason=reason)])
        view = self.view(name)
        assert view is not None
        return view


Make = Callable[[BreakerOptions], Board]


@pytest.fixture(params=["memory", "redis"])
def make(request: pytest.FixtureRequest) -> Make:
    if request.param == "memory":
        return lambda options: MemoryBreakers(options=options)
    client: Redis = request.getfixturevalue("redis_client")
    return lambda options: RedisBoard(client, options)


@pytest.fixture
def breakers(make: Make) -> Board:
    return make(OPTIONS)


def open_one(breakers: Board, name: str = "gateway") -> BreakerView:
    for _ in range(5):
        view = breakers.count(name, ok=False, reason="boom")
    return view


def still(view: BreakerView | None) -> BreakerView:
    assert view is not None
    return replace(view, now=None)


def test_a_breaker_that_nobody_used_is_unknown(breakers: Board) -> None:
    assert breakers.view("gateway") is None
    assert breakers.views() == []
    assert breakers.half_open("gateway").state is BreakerState.CLOSED
    assert breakers.record("gateway", ok=False).state is BreakerState.CLOSED
    assert breakers.repair(["gateway"], 30) == []
    assert breakers.view("gateway") is None


def test_the_fifth_failure_in_a_row_opens_it(breakers: Board) -> None:
    for number in range(1, 5):
        view = breakers.count("gateway", ok=False)
        assert (view.state, view.failures, view.in_a_row) == (BreakerState.CLOSED, number, number)

    view = breakers.count("gateway", ok=False, reason="boom")

    assert (view.state, view.failures, view.trips, view.streak) == (BreakerState.OPEN, 5, 1, 1)
    assert view.opened_at is not None
    assert view.retry_at == view.opened_at + timedelta(seconds=60)
    assert view.reason == "5 failures in a row, at last boom"


def test_a_success_in_between_starts_the_run_again(breakers: Board) -> None:
    for ok in (False, False, False, False, True, False, False, False, False):
        view = breakers.count("gateway", ok=ok)

    assert (view.state, view.in_a_row) == (BreakerState.CLOSED, 4)
    assert (view.calls, view.failures) == (9, 8)


def test_calls_and_probes_change_nothing_while_open(breakers: Board) -> None:
    open_one(breakers)
    before = still(breakers.view("gateway"))

    breakers.count("gateway", ok=True)
    breakers.record("gateway", ok=True)
    breakers.record("gateway", ok=False)

    assert still(breakers.view("gateway")) == before


def test_half_open_lets_enough_good_probes_close_it(breakers: Board) -> None:
    open_one(breakers)

    assert breakers.half_open("gateway").state is BreakerState.HALF_OPEN
    first = breakers.record("gateway", ok=True)
    assert (first.state, first.successes) == (BreakerState.HALF_OPEN, 1)
    closed = breakers.record("gateway", ok=True)

    assert (closed.state, closed.calls, closed.failures, closed.successes, closed.trips) == (BreakerState.CLOSED, 0, 0, 0, 1)
    assert (closed.opened_at, closed.retry_at, closed.reason, closed.streak) == (None, None, "", 0)


def test_a_failed_probe_opens_it_again_and_for_longer(breakers: Board) -> None:
    open_one(breakers)
    breakers.half_open("gateway")
    breakers.record("gateway", ok=True)

    view = breakers.record("gateway", ok=False)

    assert (view.state, view.trips, view.successes, view.streak) == (BreakerState.OPEN, 2, 0, 2)
    assert view.opened_at is not None
    assert view.retry_at == view.opened_at + timedelta(seconds=120)


def test_a_closed_breaker_stays_closed_when_asked_to_half_open(breakers: Board) -> None:
    breakers.count("gateway", ok=False)

    view = breakers.half_open("gateway")

    assert (view.state, view.failures) == (BreakerState.CLOSED, 1)


def test_good_probes_begin_the_ramp_where_one_is_asked_for(make: Make) -> None:
    breakers = make(replace(OPTIONS, ramp=(10, 50), success_threshold=1))
    open_one(breakers)
    breakers.half_open("gateway")

    view = breakers.record("gateway", ok=True)

    assert (view.state, view.percent) == (BreakerState.HALF_OPEN, 10)


def test_views_are_sorted_by_name(breakers: Board) -> None:
    breakers.count("web", ok=True)
    breakers.count("api", ok=False)

    assert [view.name for view in breakers.views()] == ["api", "web"]


@pytest.mark.parametrize("order", [BreakerOrder.METRICS_ONLY, BreakerOrder.DISABLED, BreakerOrder.FORCED_OPEN])
def test_an_operators_mode_goes_before_the_state_until_it_is_taken_back(breakers: Board, order: BreakerOrder) -> None:
    open_one(breakers)

    view = breakers.operate("gateway", order, "ann", "maintenance")
    assert (view.state.value, view.mode) == (order.value, order)

    view = breakers.operate("gateway", BreakerOrder.AUTO, "ann", "over")
    assert (view.state, view.mode, view.trips) == (BreakerState.CLOSED, BreakerOrder.AUTO, 1)


@pytest.mark.parametrize("order", [BreakerOrder.METRICS_ONLY, BreakerOrder.DISABLED, BreakerOrder.FORCED_OPEN])
def test_an_order_says_who_gave_it_why_and_until_when_and_ends_by_itself(breakers: Board, order: BreakerOrder) -> None:
    open_one(breakers)

    view = breakers.operate("gateway", order, "ann", "a leak", 0.2)

    assert (view.mode, view.mode_by, view.mode_reason) == (order, "ann", "a leak")
    assert view.mode_since is not None
    assert view.mode_until == view.mode_since + timedelta(seconds=0.2)
    eventually(lambda: still(breakers.view("gateway")).mode is BreakerOrder.AUTO)
    after = still(breakers.view("gateway"))
    assert (after.state, after.in_a_row, after.calls, after.trips) == (BreakerState.CLOSED, 0, 0, 1)
    assert (after.mode_since, after.mode_until, after.mode_by, after.mode_reason) == (view.mode_until, None, "", "")


def test_an_order_that_is_given_again_lasts_from_then_on(breakers: Board) -> None:
    breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "quarantine of web", "", 30, give_way=True)

    view = breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "quarantine of web", "", 600, give_way=True)

    assert view.mode_since is not None
    assert view.mode_until is not None
    early = timedelta(seconds=600) - (view.mode_until - view.mode_since)
    assert timedelta(0) <= early <= timedelta(milliseconds=1), "the later of two orders in one millisecond is dated a millisecond later"
    assert breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "ann", "").mode_until is None


@pytest.mark.parametrize("theirs", [BreakerOrder.METRICS_ONLY, BreakerOrder.DISABLED, BreakerOrder.FORCED_OPEN])
@pytest.mark.parametrize("mine", [BreakerOrder.AUTO, BreakerOrder.RESET, BreakerOrder.FORCED_OPEN])
def test_who_gives_way_leaves_the_orders_of_others_alone(breakers: Board, theirs: BreakerOrder, mine: BreakerOrder) -> None:
    breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "me", "", 30)
    before = still(breakers.operate("gateway", theirs, "ann", "mine now"))

    after = still(breakers.operate("gateway", mine, "me", "it is over", 30, give_way=True))

    assert after == before


def test_who_gives_way_may_take_back_their_own_order(breakers: Board) -> None:
    breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "me", "", 30, give_way=True)

    assert breakers.operate("gateway", BreakerOrder.AUTO, "me", "it is over", give_way=True).mode is BreakerOrder.AUTO


@pytest.mark.parametrize("order", [BreakerOrder.DISABLED, BreakerOrder.FORCED_OPEN])
def test_nothing_is_counted_while_no_call_is_judged(breakers: Board, order: BreakerOrder) -> None:
    breakers.operate("gateway", order, "ann", "")

    view = open_one(breakers)

    assert (view.calls, view.trips) == (0, 0)


def test_a_reset_closes_at_once_and_forgets_what_was_counted(breakers: Board) -> None:
    open_one(breakers)

    view = breakers.operate("gateway", BreakerOrder.RESET, "ann", "mended by hand")

    assert (view.state, view.in_a_row, view.calls, view.streak) == (BreakerState.CLOSED, 0, 0, 0)


def test_open_breakers_of_services_under_recovery_show_it_until_it_is_over(make: Make) -> None:
    breakers = make(replace(OPTIONS, service="payments"))
    open_one(breakers)
    breakers.count("web", ok=True)

    assert breakers.repair(["payments"], 30) == ["gateway"]
    view = still(breakers.view("gateway"))
    assert (view.state, view.service) == (BreakerState.REPAIRING, "payments")
    assert view.repairing_until is not None
    assert [view.state for view in breakers.views()] == [BreakerState.REPAIRING, BreakerState.CLOSED]

    assert breakers.repair([], 30) == []
    assert still(breakers.view("gateway")).state is BreakerState.OPEN


def test_a_verified_service_lets_its_open_breakers_be_probed_at_once_and_leaves_the_others(make: Make) -> None:
    breakers = make(replace(OPTIONS, service="payments"))
    open_one(breakers)
    open_one(breakers, "ledger")
    breakers.count("web", ok=False)
    breakers.repair(["payments"], 30)

    assert breakers.mend("orders") == []
    assert still(breakers.view("gateway")).state is BreakerState.REPAIRING

    assert breakers.mend("payments") == ["gateway", "ledger"]
    views = breakers.views()
    assert [view.state for view in views] == [BreakerState.HALF_OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]
    assert [view.repairing_until for view in views] == [None, None, None]
    assert views[2].in_a_row == 1, "what a closed one has counted stays"
    assert breakers.mend("payments") == [], "it is done once"

    breakers.record("gateway", ok=False)
    view = still(breakers.view("gateway"))
    assert (view.state, view.streak) == (BreakerState.OPEN, 2), "nothing was closed blindly"


def test_the_mark_of_a_recovery_passes_by_itself_when_nobody_renews_it(make: Make) -> None:
    breakers = make(OPTIONS)
    open_one(breakers)
    breakers.repair(["gateway"], 0.2)

    eventually(lambda: still(breakers.view("gateway")).state is BreakerState.OPEN)


def test_a_dead_redis_is_said_to_be_unavailable() -> None:
    with Redis.from_url("unix:///nowhere/redis.sock", retry=Retry(NoBackoff(), 0)) as nowhere:
        breakers = RedisBreakers(nowhere)
        calls: list[Callable[[], object]] = [
            lambda: breakers.view("x"),
            breakers.views,
            lambda: breakers.half_open("x"),
            lambda: breakers.record("x", ok=True),
            lambda: breakers.operate("x", BreakerOrder.RESET, "ann", ""),
            lambda: breakers.repair(["x"], 1),
            lambda: breakers.mend("x"),
        ]
        for call in calls:
            with pytest.raises(StoreUnavailable, match="Redis did not"):
                call()


@pytest.mark.parametrize("seconds", [0, -1, 1e12, float("inf"), float("nan")])
def test_an_order_for_longer_than_a_year_or_for_no_time_is_refused_and_spoils_nothing(breakers: Board, seconds: float) -> None:
    with pytest.raises(ValueError, match="an order lasts above 0 up to 31622400 seconds, not"):
        breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "ann", "a leak", seconds)

    assert breakers.view("gateway") is None
    assert breakers.operate("gateway", BreakerOrder.FORCED_OPEN, "ann", "a leak", 366 * 86_400).mode is BreakerOrder.FORCED_OPEN
