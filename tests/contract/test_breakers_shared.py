"""Redis keeps the fleet's side of breakers: what callers share, and what they know when it comes back."""

import json
from dataclasses import replace
from typing import Any

import pytest
from redis import Redis

from recovery.breaker import BreakerOptions, RedisBreakers
from recovery.breaker.circuit import PROBE, Admission, Ordered
from recovery.breaker.fleet import Ended
from recovery.breaker.shared import BREAKER_CHANGED, BREAKER_HISTORY, SharedCircuits, key_of
from recovery.breaker.snapshot import Snapshot, snapshot_of
from recovery.models import BreakerState
from tests.breakers import Clock
from tests.support import eventually

NEVER = BreakerOptions(failure_threshold=2, success_threshold=2, half_open_requests=2, jitter=0.0)
FAILED = Ended("failed", reason="boom")


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
def shared(redis_client: Redis, clock: Clock) -> SharedCircuits:
    return SharedCircuits(redis_client, "one", clock, chance=lambda: 0.5)


def history(client: Redis) -> list[dict[str, str]]:
    entries: Any = client.xrange(BREAKER_HISTORY)
    return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]


def moves(client: Redis) -> list[tuple[str, str]]:
    return [(entry["from"], entry["to"]) for entry in history(client)]


def test_every_change_is_pushed_and_kept_in_the_history(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    listener = redis_client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listener.subscribe(BREAKER_CHANGED)
    eventually(lambda: redis_client.pubsub_numsub(BREAKER_CHANGED)[0][1])

    shared.tell("gateway", replace(NEVER, service="payments"), [FAILED, FAILED])
    clock.now += 60
    shared.admit("gateway", replace(NEVER, service="payments"), "p")
    shared.probed("gateway", None, "ok", "p")
    shared.probed("gateway", None, "ok", PROBE)

    told: list[Snapshot] = []

    def all_heard() -> bool:
        message = listener.get_message(timeout=0.1)
        told.extend([snapshot_of(message["data"])] if message else [])
        return len(told) == 3

    eventually(all_heard)
    listener.close()
    assert [each.circuit.state for each in told] == ["open", "half_open", "closed"]
    assert told[0].circuit.retry_at == 1_000_060.0
    assert [each.view.version for each in told] == sorted(each.view.version for each in told)
    assert moves(redis_client) == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    assert history(redis_client)[0] == {
        "name": "gateway",
        "service": "payments",
        "at": "1000000000",
        "from": "closed",
        "to": "open",
        "reason": "2 failures in a row, at last boom",
        "trips": "1",
        "streak": "1",
        "by": "one",
    }


def test_a_ramp_that_ended_unseen_is_dated_when_it_ended(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    options = replace(NEVER, ramp=(10, 50), ramp_stage=5.0, success_threshold=1)
    shared.tell("gateway", options, [FAILED, FAILED])
    shared.half_open("gateway")
    shared.probed("gateway", options, "ok", PROBE)

    clock.now += 100
    view = shared.view("gateway")

    assert view is not None
    assert view.circuit.state == "closed"
    assert (history(redis_client)[-1]["to"], history(redis_client)[-1]["at"]) == ("closed", "1000010000")


def test_permits_are_counted_over_all_processes(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    another = SharedCircuits(redis_client, "two", clock)
    shared.tell("gateway", NEVER, [FAILED, FAILED])
    clock.now += 60

    assert [each.admit("gateway", NEVER, permit)[1].allowed for each, permit in ((shared, "a"), (another, "b"), (shared, "c"))] == [
        True,
        True,
        False,
    ]
    another.probed("gateway", NEVER, "void", "b")
    assert shared.admit("gateway", NEVER, "d")[1].permit == "d"
    clock.now += 60
    assert another.admit("gateway", NEVER, "e")[1].permit == "e", "a permit that never came back expires"


def test_only_metrics_tells_once_that_it_would_have_opened(redis_client: Redis, shared: SharedCircuits) -> None:
    shared.operate("gateway", "metrics_only", options=NEVER)

    snapshot, opened = shared.tell("gateway", NEVER, [FAILED] * 5)

    assert (snapshot.shown, snapshot.circuit.state, snapshot.failures, opened) == ("metrics_only", "closed", 5, False)
    assert moves(redis_client) == [("closed", "metrics_only"), ("metrics_only", "would_open")]


def test_a_disabled_one_counts_nothing(shared: SharedCircuits) -> None:
    shared.operate("gateway", "disabled", options=NEVER)

    assert shared.tell("gateway", NEVER, [FAILED] * 5)[0].calls == 0


def test_votes_open_it_when_enough_processes_agree_at_once(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    options = replace(NEVER, quorum=2)

    assert shared.tell("gateway", options, [FAILED] * 9)[0].circuit.state == "closed", "one process's calls open nothing"
    assert not shared.vote("gateway", options, "one", 60, "refused")[1]
    assert not shared.vote("gateway", options, "one", 60, "refused")[1], "it is one and the same"
    shared.vote("gateway", options, "one", 0)
    assert not shared.vote("gateway", options, "two", 60, "refused")[1], "the first was withdrawn"
    clock.now += 61
    assert not shared.vote("gateway", options, "three", 60, "refused")[1], "the second is over"
    snapshot, opened = shared.vote("gateway", options, "four", 60, "refused")

    assert opened
    assert (snapshot.circuit.state, snapshot.circuit.reason) == ("open", "2 processes opened it, the last: refused")
    assert not shared.vote("gateway", options, "five", 60, "refused")[1]


def test_votes_open_it_again_in_the_middle_of_a_ramp(shared: SharedCircuits) -> None:
    options = replace(NEVER, quorum=2, ramp=(10, 50), success_threshold=1)
    for _ in range(2):
        shared.vote("gateway", options, "one", 60)
        assert shared.vote("gateway", options, "two", 60)[1]
        shared.half_open("gateway")
        assert shared.probed("gateway", options, "ok", PROBE)[0].circuit.stage == 1


def test_probes_use_the_thresholds_that_the_callers_gave(redis_client: Redis, shared: SharedCircuits) -> None:
    shared.tell("gateway", replace(NEVER, success_threshold=1), [FAILED, FAILED])
    breakers = RedisBreakers(redis_client)

    breakers.half_open("gateway")

    assert breakers.record("gateway", ok=True).state is BreakerState.CLOSED


def test_of_two_processes_with_different_options_the_last_to_count_decides(
    redis_client: Redis, shared: SharedCircuits, clock: Clock
) -> None:
    another = SharedCircuits(redis_client, "two", clock, chance=lambda: 0.5)
    patient = replace(NEVER, failure_threshold=4, reset_timeout=10.0, window_seconds=30.0, failure_rate=1.0)

    shared.tell("gateway", replace(NEVER, failure_threshold=3), [FAILED])
    assert another.tell("gateway", patient, [FAILED, FAILED])[0].circuit.state == "closed"
    snapshot, opened = shared.tell("gateway", replace(NEVER, failure_threshold=3), [FAILED])

    assert opened
    assert snapshot.failures == 4
    assert snapshot.circuit.retry_at == clock.now + 60


def test_the_version_rises_even_when_redis_lost_its_data(redis_client: Redis) -> None:
    shared = SharedCircuits(redis_client)
    before, _ = shared.tell("gateway", NEVER, [FAILED])
    redis_client.flushdb()

    after, _ = shared.tell("gateway", NEVER, [FAILED])

    assert after.view.version > before.view.version
    assert after.failures == 1


def test_only_the_call_that_opened_it_is_told_so(shared: SharedCircuits) -> None:
    assert [shared.tell("gateway", NEVER, [FAILED])[1] for _ in range(4)] == [False, True, False, False]


def test_scripts_that_redis_forgot_are_loaded_again(redis_client: Redis, shared: SharedCircuits) -> None:
    shared.tell("gateway", NEVER, [FAILED])
    redis_client.script_flush()

    assert shared.tell("gateway", NEVER, [FAILED])[1]


@pytest.mark.parametrize("name", ["history", "changed", "a.b-c_D", "gateway"])
def test_no_name_and_no_reason_breaks_anything(redis_client: Redis, shared: SharedCircuits, name: str) -> None:
    odd = 'quoted "and" \\ \n odd \ud800 \x00 ' + "✂" * 700

    snapshot, opened = shared.tell(name, NEVER, [Ended("failed", 9, reason=odd)])

    assert opened
    assert snapshot.circuit.reason == "9 failures in a row, at last " + odd[:600].replace("\ud800", "?")
    assert redis_client.hget(key_of(name), "state") == b"open"
    assert json.loads(redis_client.hget(key_of(name), "options") or "")["failure_threshold"] == 2
    assert history(redis_client)[0]["name"] == name


def test_a_storm_of_failures_in_a_long_window_leaves_few_batches(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    options = BreakerOptions(failure_threshold=None, failure_rate=1.0, window_seconds=3_600, minimum_requests=100_000)
    for _ in range(50):
        clock.now += 90
        shared.tell("gateway", options, [Ended("failed", 10, ok_before=1)] * 3)

    snapshot = shared.view("gateway")

    assert snapshot is not None
    assert 1_200 <= snapshot.calls <= 1_350
    assert redis_client.llen(f"{key_of('gateway')}:calls") <= 10


# --- Redis was away -----------------------------------------------------------------------------------------------------


def opened_before(shared: SharedCircuits) -> Snapshot:
    return shared.tell("gateway", NEVER, [FAILED, FAILED])[0]


def test_what_redis_lost_is_restored_once_and_is_no_new_opening(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    heard = opened_before(shared)
    redis_client.flushdb()

    first, opened = shared.merge("gateway", NEVER, heard, 42.0, None)
    second, opened_again = shared.merge("gateway", NEVER, heard, 40.0, None)

    assert not opened
    assert not opened_again
    assert first.circuit == second.circuit
    assert (first.circuit.state, first.circuit.trips, first.circuit.reason) == ("open", 1, heard.circuit.reason)
    assert first.circuit.retry_at == clock.now + 42
    assert history(redis_client) == []
    clock.now += 50
    shared.admit("gateway", NEVER, "p")
    shared.operate("gateway", "reset")
    assert shared.merge("gateway", NEVER, heard, 1.0, None)[0].circuit.state == "closed", "whoever comes late opens nothing"


def test_a_breaker_restored_by_nobody_who_knew_it_open_is_restored_by_the_first_who_did(
    redis_client: Redis, shared: SharedCircuits
) -> None:
    heard = opened_before(shared)
    redis_client.flushdb()
    shared.declare("gateway", NEVER)

    assert shared.merge("gateway", NEVER, heard, 42.0, None)[0].circuit.state == "open"


def test_an_opening_alone_opens_the_fleet_once(redis_client: Redis, shared: SharedCircuits) -> None:
    heard = shared.declare("gateway", NEVER)
    alone = Ended("failed", 2, reason="boom", tripped="2 failures in a row, at last boom")

    first, opened = shared.merge("gateway", NEVER, heard, 0, alone)
    second, opened_again = shared.merge("gateway", NEVER, heard, 0, alone)

    assert (opened, opened_again) == (True, False)
    assert (first.circuit.trips, second.circuit.trips) == (1, 1)
    assert moves(redis_client) == [("closed", "open")]
    shared.operate("gateway", "reset")
    late = shared.merge("gateway", NEVER, heard, 0, alone)[0].circuit
    assert (late.state, late.trips) == ("closed", 1), "its failures were of the opening that is over"


def test_failures_that_the_fleet_did_not_hear_of_arrive(shared: SharedCircuits) -> None:
    heard = shared.tell("gateway", NEVER, [FAILED])[0]

    snapshot, opened = shared.merge("gateway", NEVER, heard, 0, Ended("failed", 1, reason="boom"))

    assert opened
    assert snapshot.failures == 2


def test_an_older_copy_that_was_promoted_learns_what_it_missed(redis_client: Redis, shared: SharedCircuits) -> None:
    shared.tell("gateway", NEVER, [FAILED])
    copy: Any = redis_client.dump(key_of("gateway"))
    heard = shared.tell("gateway", NEVER, [FAILED])[0]
    redis_client.restore(key_of("gateway"), 0, copy, replace=True)
    redis_client.delete(BREAKER_HISTORY)

    snapshot, opened = shared.merge("gateway", NEVER, heard, 30.0, None)

    assert not opened
    assert (snapshot.circuit.state, snapshot.circuit.trips) == ("open", 1)
    assert snapshot.view.version > heard.view.version


def test_an_order_that_ends_by_itself_outlives_the_loss_of_redis_with_its_end_and_its_author(
    redis_client: Redis, shared: SharedCircuits, clock: Clock
) -> None:
    heard = shared.operate("gateway", "forced_open", options=NEVER, reason="a leak", by="ann", seconds=60)
    redis_client.flushdb()

    assert shared.merge("gateway", NEVER, heard, 0, None)[0].circuit.ordered == heard.circuit.ordered
    clock.now += 60
    view = shared.view("gateway")
    assert view is not None
    assert (view.shown, view.mode_at) == ("closed", round(clock.now * 1000))
    assert shared.merge("gateway", NEVER, heard, 0, None)[0].shown == "closed", "what is over is not restored"

    redis_client.flushdb()
    assert shared.merge("gateway", NEVER, heard, 0, None)[0].shown == "closed"


def test_who_asks_while_it_is_forced_open_learns_when_it_is_worth_asking_again(shared: SharedCircuits) -> None:
    shared.operate("gateway", "forced_open", options=NEVER, seconds=4)
    assert shared.admit("gateway", NEVER, "p")[1] == Admission(allowed=False, retry_after=4.0)

    shared.operate("gateway", "forced_open", options=NEVER, seconds=3600)
    assert shared.admit("gateway", NEVER, "p")[1] == Admission(allowed=False, retry_after=NEVER.reset_timeout)


def test_the_end_of_an_order_is_told_with_its_moment_once_somebody_looks(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    heard = shared.operate("gateway", "forced_open", options=NEVER, reason="a leak", by="ann", seconds=60)
    clock.now += 100

    view = shared.view("gateway")

    assert view is not None
    assert view.view.version > heard.view.version, "whoever looks for news finds it"
    told = history(redis_client)[-1]
    assert (told["from"], told["to"], told["at"]) == ("forced_open", "closed", "1000060000")
    assert told["reason"] == "the time of the order was over"


def test_an_operators_mode_outlives_the_loss_of_redis_and_the_newest_one_holds(
    redis_client: Redis, shared: SharedCircuits, clock: Clock
) -> None:
    shared.declare("gateway", NEVER)
    heard = shared.operate("gateway", "forced_open", by="ann")
    redis_client.flushdb()

    assert shared.merge("gateway", NEVER, heard, 0, None)[0].shown == "forced_open"
    clock.now += 1
    shared.operate("gateway", "auto", by="ann")
    assert shared.merge("gateway", NEVER, heard, 0, None)[0].shown == "closed"


def test_an_order_taken_back_stays_so_when_the_clock_of_redis_steps_back(redis_client: Redis, shared: SharedCircuits, clock: Clock) -> None:
    heard = shared.operate("gateway", "forced_open", options=NEVER, by="ann", reason="a leak")
    clock.now -= 10
    given = shared.operate("gateway", "auto", by="ann")

    assert shared.merge("gateway", NEVER, heard, 0, None)[0].shown == "closed", "a process that was away remembers the older order"
    assert given.mode_at is not None
    assert heard.mode_at is not None
    assert given.mode_at > heard.mode_at
    ends = shared.operate("gateway", "disabled", by="ann", seconds=5)
    clock.now += 5
    assert (view := shared.view("gateway")) is not None
    assert (view.shown, view.circuit.ordered.until) == ("closed", None)
    assert shared.merge("gateway", NEVER, ends, 0, None)[0].shown == "closed"


def test_the_end_of_an_order_that_an_older_release_took_back_closes_no_open_breaker(
    redis_client: Redis, shared: SharedCircuits, clock: Clock
) -> None:
    shared.operate("gateway", "forced_open", options=NEVER, by="ann", reason="a leak", seconds=30)
    redis_client.hset(key_of("gateway"), "mode", "auto")  # that release knows no end and no author
    shared.tell("gateway", NEVER, [FAILED, FAILED])
    clock.now += 30

    assert (view := shared.view("gateway")) is not None
    assert (view.shown, view.circuit.ordered) == ("open", Ordered())
