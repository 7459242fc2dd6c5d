"""What the client's flags answer from the JSON in Redis: layers, the system, ramps and the clock, without a server."""

import json
import logging
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from recovery.client import flags as flags_module
from recovery.client.flags import Explanation, Flags
from recovery.client.known import LEVELS, Degraded, Known, degradations_of
from recovery.client.view import Change, LocalView
from recovery.degrade.keys import DEGRADATION, DEGRADATIONS, ENDPOINT, ENDPOINTS, member_of
from recovery.degrade.ramp import left_of, restored, share_of

NOW = 1_000_000.0
FEATURE, OTHER = "suggestions", "facets"
CAPABILITY = "indexing"


class Shelf:
    """The commands that a view sends, answered from a dict."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    def put(self, service: str = "search", layer: str = "recovery", **fields: object) -> None:
        value = {"service": service, "layer": layer, "level": "limited", "until": NOW + 60, "features_off": [], "capabilities": {}}
        self.values[DEGRADATION + member_of(service, layer)] = json.dumps(value | fields).encode()

    def switch(self, service: str, url: str) -> None:
        self.values[ENDPOINT + service] = json.dumps({"service": service, "name": "replica", "url": url}).encode()

    def zrange(self, index: str, _first: int, _last: int) -> list[bytes]:
        assert index == DEGRADATIONS
        return [key.removeprefix(DEGRADATION).encode() for key in self.values if key.startswith(DEGRADATION)]

    def smembers(self, index: str) -> set[bytes]:
        assert index == ENDPOINTS
        return {key.removeprefix(ENDPOINT).encode() for key in self.values if key.startswith(ENDPOINT)}

    def mget(self, keys: list[str]) -> list[bytes | None]:
        return [self.values.get(key) for key in keys]


class World:
    """A view over a shelf, at a moment that tests choose."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        self.shelf = Shelf()
        self.view = LocalView()
        self.flags = Flags(self.view, lambda: None)
        self.told: list[Change] = []
        self.view.on_change(self.told.append)
        clock = SimpleNamespace(time=lambda: self.now)
        monkeypatch.setattr("recovery.client.flags.time", clock)
        monkeypatch.setattr("recovery.client.view.time", clock)

    def look(self) -> None:
        self.view.load(cast("Redis", self.shelf))

    def known(self, service: str = "search", layer: str = "recovery", **fields: object) -> None:
        self.shelf.put(service, layer, **fields)
        self.look()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


# --- layers and the system ---


def test_every_layer_counts_and_the_worst_of_each_answer(world: World) -> None:
    world.known("search", "recovery", level="partial", features_off=[FEATURE], capabilities={CAPABILITY: 50})
    world.known("search", "manual", level="minimal", capabilities={CAPABILITY: 75})
    world.known("search", "rule:weak", features_off=[OTHER], until=NOW + 5)

    assert world.flags.level("search") == "minimal"
    assert world.flags.capability(CAPABILITY) == 50
    assert not world.flags.enabled(FEATURE)
    assert not world.flags.enabled(OTHER)

    world.now = NOW + 5

    assert world.flags.enabled(OTHER), "one layer's end is no other's"
    assert not world.flags.enabled(FEATURE)


def test_everybody_heeds_the_system_and_nobody_another_service(world: World) -> None:
    world.known("*", "manual", level="emergency", features_off=[FEATURE], capabilities={CAPABILITY: 10})
    world.known("search", level="partial", features_off=[OTHER], capabilities={CAPABILITY: 5})

    assert not world.flags.enabled(FEATURE, service="mail")
    assert world.flags.enabled(OTHER, service="mail")
    assert world.flags.capability(CAPABILITY, service="mail") == 10
    assert world.flags.level("mail") == "emergency"
    assert world.flags.enabled(OTHER, service="*"), "asked for the system, only its own degradations count"
    assert not world.flags.enabled(OTHER)
    assert world.flags.capability(CAPABILITY) == 5
    assert world.flags.level() == "emergency"
    assert [one.service for one in world.flags.in_force("search")] == ["*", "search"]


def test_a_capability_that_is_not_limited_for_a_service_has_the_default(world: World) -> None:
    world.known("search", capabilities={CAPABILITY: 5})

    assert world.flags.capability(CAPABILITY, service="mail", default=80) == 80
    assert world.flags.why_capability(CAPABILITY, service="mail", default=80) == Explanation(80, "normal")


# --- the ramp ---


def test_callers_come_back_by_the_ramp_and_keep_their_place(world: World) -> None:
    world.known(features_off=[FEATURE], ramp=[10, 50], ramp_stage=30)
    keys = [f"user-{number}" for number in range(2_000)]

    def having_it(now: float) -> set[str]:
        world.now = now
        return {key for key in keys if world.flags.enabled(FEATURE, key=key)}

    in_force, few, half, everybody = having_it(NOW + 59), having_it(NOW + 60), having_it(NOW + 90), having_it(NOW + 120)

    assert in_force == set()
    assert len(few) == pytest.approx(200, abs=60)
    assert len(half) == pytest.approx(1_000, abs=120)
    assert few < half, "nobody loses it again"
    assert everybody == set(keys)


def test_without_a_key_chance_decides(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.known(features_off=[FEATURE], ramp=[10, 50], ramp_stage=30)
    world.now = NOW + 90

    for chance, on in ((0.0, True), (0.49, True), (0.5, False), (0.99, False)):
        monkeypatch.setattr(flags_module, "random", lambda chance=chance: chance)
        assert world.flags.enabled(FEATURE) is on


def test_a_capability_comes_back_for_all_alike(world: World) -> None:
    world.known(capabilities={CAPABILITY: 20}, ramp=[10, 50], ramp_stage=30)

    for seconds, left in ((59, 20), (60, 28), (90, 60), (120, 100)):
        world.now = NOW + seconds
        assert world.flags.capability(CAPABILITY) == left


def test_the_level_stays_until_the_last_stage_is_over(world: World) -> None:
    world.known(ramp=[10, 50], ramp_stage=30)

    world.now = NOW + 119.9
    assert world.flags.why_level("search").why == "restoring"
    assert world.flags.level("search") == "limited"

    world.now = NOW + 120
    assert world.flags.why_level("search") == Explanation("normal", "normal")


def test_of_several_the_one_decides_that_lets_the_fewest_through(world: World) -> None:
    world.known("search", "recovery", features_off=[FEATURE], ramp=[50], ramp_stage=100)
    world.known("search", "manual", features_off=[FEATURE], ramp=[10], ramp_stage=100, by="ann")
    world.now = NOW + 70

    answer = world.flags.why(FEATURE, key="somebody")

    assert (answer.why, answer.percent) == ("restoring", 10)
    assert answer.cause is not None
    assert answer.cause.by == "ann"


# --- why ---


def test_an_answer_says_what_it_comes_from(world: World) -> None:
    world.known("search", "manual", features_off=[FEATURE], capabilities={CAPABILITY: 30}, reason="sale", by="ann", recovery_id="r1")

    answer = world.flags.why(FEATURE)

    (cause,) = world.flags.in_force("search")
    assert answer == Explanation(False, "degraded", 0, cause)
    assert world.flags.why_capability(CAPABILITY) == Explanation(30, "degraded", 0, cause)
    assert world.flags.why_level("search") == Explanation("limited", "degraded", 0, cause)
    assert (cause.layer, cause.level, cause.until, cause.reason, cause.by) == ("manual", "limited", NOW + 60, "sale", "ann")
    assert world.flags.why("another") == Explanation(True, "normal")


def test_before_redis_was_reached_every_answer_is_its_default(world: World) -> None:
    world.view.away(ConnectionError())

    assert world.flags.freshness == "unknown"
    assert world.flags.why(FEATURE, default=False) == Explanation(False, "unknown")
    assert world.flags.why_capability(CAPABILITY, default=40) == Explanation(40, "unknown")
    assert world.flags.why_level("search") == Explanation("normal", "unknown")
    assert world.flags.in_force() == ()
    assert world.flags.endpoint("db", "http://primary") == "http://primary"


def test_while_redis_is_away_answers_say_that_they_are_old(world: World) -> None:
    world.known(features_off=[FEATURE])
    world.view.away(ConnectionError())

    assert world.flags.why(FEATURE).stale
    assert world.flags.why("another").stale

    world.look()

    assert not world.flags.why(FEATURE).stale


def test_a_closed_client_says_that_its_answers_are_old(world: World) -> None:
    world.known(features_off=[FEATURE])

    world.view.cut_off()
    world.shelf.values.clear()
    world.look()

    assert world.flags.freshness == "stale"
    assert not world.flags.enabled(FEATURE), "what was known last holds until it ends"


# --- against the contract, in general ---

SERVICES = st.sampled_from(["search", "mail", "*"])
DEGRADED = st.builds(
    Degraded,
    service=SERVICES,
    level=st.sampled_from(LEVELS),
    until=st.integers(-60, 60).map(lambda seconds: NOW + seconds),
    features_off=st.frozensets(st.sampled_from([FEATURE, OTHER])),
    capabilities=st.dictionaries(st.just(CAPABILITY), st.integers(0, 100)),
    layer=st.sampled_from(["recovery", "manual"]),
    ramp=st.lists(st.integers(1, 99), max_size=3, unique=True).map(lambda ramp: tuple(sorted(ramp))),
    ramp_stage=st.sampled_from([5.0, 20.0]),
)


@given(st.lists(DEGRADED, max_size=4), st.none() | SERVICES, st.text(max_size=5))
def test_answers_are_what_the_contract_says(degraded: list[Degraded], service: str | None, key: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        world = World(patch)
        world.view.known = Known.of(degraded, {})
        heeded = [
            (one, percent)
            for one in degraded
            if service is None or one.service in (service, "*")
            if (percent := restored(NOW, one.until, one.ramp, one.ramp_stage)) < 100
        ]

        assert world.flags.enabled(FEATURE, service=service, key=key) == all(
            share_of(key, FEATURE) < percent for one, percent in heeded if FEATURE in one.features_off
        )
        assert world.flags.capability(CAPABILITY, service=service) == min(
            (left_of(one.capabilities[CAPABILITY], percent) for one, percent in heeded if CAPABILITY in one.capabilities), default=100
        )
        assert world.flags.level(service) == LEVELS[max((LEVELS.index(one.level) for one, _ in heeded), default=0)]
        assert world.flags.why(FEATURE, service=service, key=key).value == world.flags.enabled(FEATURE, service=service, key=key)
        assert world.flags.why_capability(CAPABILITY, service=service).value == world.flags.capability(CAPABILITY, service=service)
        assert world.flags.why_level(service).value == world.flags.level(service)


# --- reading ---


def test_a_value_of_an_older_platform_is_read() -> None:
    old = '{"service": "search", "level": "partial", "since": 1, "until": 2, "features_off": ["a"], "capabilities": {"b": 3}}'

    (one,) = degradations_of([old])

    assert (one.layer, one.ramp, one.by) == ("recovery", (), "")


@pytest.mark.parametrize(
    "fields",
    [
        {"level": "terrible"},
        {"level": None},
        {"until": "soon"},
        {"until": float("nan"), "ramp": [10]},
        {"features_off": 3},
        {"capabilities": ["indexing"]},
        {"capabilities": {"indexing": "much"}},
        {"ramp": "ten"},
        {"ramp_stage": [1]},
    ],
)
def test_one_odd_value_is_left_out_and_told_once(world: World, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]) -> None:
    world.shelf.put("mail", **fields)
    world.shelf.put("search", features_off=[FEATURE])
    world.shelf.values[ENDPOINT + "db"] = b"[]"

    with caplog.at_level(logging.WARNING, "recovery.client"):
        world.look()
        world.look()

    assert [one.service for one in world.flags.in_force()] == ["search"]
    assert sorted(record.getMessage().partition(":")[0] for record in caplog.records) == [
        "left out what is no degradation",
        "left out what is no endpoint",
    ]


def test_a_ramp_without_a_length_of_its_stages_is_none(world: World) -> None:
    world.known(features_off=[FEATURE], ramp=[10, 50], ramp_stage=0)
    world.now = NOW + 60

    assert world.flags.enabled(FEATURE)


# --- telling ---


def names(change: Change) -> tuple[set[str], set[str], set[str], set[str]]:
    return set(change.features), set(change.capabilities), set(change.levels), set(change.endpoints)


def test_listeners_are_told_which_answers_are_others_now(world: World) -> None:
    world.look()
    world.shelf.put(features_off=[FEATURE], capabilities={CAPABILITY: 20})
    world.shelf.switch("db", "http://replica")
    world.look()
    world.look()
    world.shelf.values.clear()
    world.look()

    reached, put, cleared = world.told
    assert (reached.before, reached.freshness, names(reached)) == ("unknown", "fresh", (set(), set(), set(), set()))
    assert names(put) == names(cleared) == ({FEATURE}, {CAPABILITY}, {"search"}, {"db"})
    assert put.before == put.freshness == "fresh"


def test_listeners_are_told_what_the_clock_alone_changed(world: World) -> None:
    world.known(features_off=[FEATURE], capabilities={CAPABILITY: 20}, ramp=[50], ramp_stage=30)
    world.told.clear()
    for seconds in (30, 60, 75, 90, 95):
        world.now = NOW + seconds
        world.view.away(ConnectionError())  # nobody tells, and nobody can be asked

    away, ramping, gone = world.told
    assert (away.before, away.freshness, names(away)) == ("fresh", "stale", (set(), set(), set(), set()))
    assert names(ramping) == ({FEATURE}, {CAPABILITY}, set(), set())
    assert names(gone) == ({FEATURE}, {CAPABILITY}, {"search"}, set())


def test_a_longer_time_is_no_change_of_answers(world: World) -> None:
    world.known(features_off=[FEATURE])
    world.told.clear()

    world.known(features_off=[FEATURE], until=NOW + 600)

    assert world.told == []


def test_a_listener_that_fails_is_logged_and_the_others_are_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Change] = []

    def fail(_change: Change) -> None:
        raise ValueError("mine")

    removes: list[Callable[[], None]] = [world.flags.on_change(fail), world.flags.on_change(heard.append)]
    world.known(features_off=[FEATURE])

    assert len(heard) == 1
    assert "a listener to changes of degradations failed" in caplog.text

    for remove in removes:
        remove()
    world.shelf.values.clear()
    world.look()

    assert len(heard) == 1, "removed listeners hear nothing"


def test_a_forked_child_goes_on_with_what_its_parent_knew_and_keeps_its_listeners(world: World) -> None:
    world.known(features_off=[FEATURE])
    world.told.clear()

    world.view.renew()

    assert world.flags.why(FEATURE).stale
    assert not world.flags.enabled(FEATURE)

    world.look()

    assert world.flags.freshness == "fresh"
    assert world.told == [], "nothing is different from what the listeners were told last"

    world.shelf.values.clear()
    world.look()

    (change,) = world.told
    assert names(change) == ({FEATURE}, set(), {"search"}, set())
