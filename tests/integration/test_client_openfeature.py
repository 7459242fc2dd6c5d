"""The OpenFeature provider, asked as its users ask: through the SDK's public API, with a real Valkey behind it."""

import asyncio
import dataclasses
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from recovery.client import RecoveryClient
from recovery.degrade import RedisDegradations, RedisEndpoints
from recovery.degrade.ramp import share_of
from recovery.models import Degradation, Endpoint, Level, utcnow
from tests.support import ValkeyServer, eventually

pytest.importorskip("openfeature", reason="the extra `openfeature` is not installed")

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import ProviderStatus

from recovery.client.openfeature import RecoveryProvider


@pytest.fixture(autouse=True)
def clean_api() -> Iterator[None]:
    yield
    api.shutdown()


@pytest.fixture
def recovery(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[RecoveryClient]:
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        yield client


@pytest.fixture
def flags(recovery: RecoveryClient) -> OpenFeatureClient:
    api.set_provider_and_wait(RecoveryProvider(recovery))
    return api.get_client()


@pytest.fixture
def degradations(redis_client: Redis) -> RedisDegradations:
    return RedisDegradations(redis_client)


def degraded(service: str = "search", layer: str = "manual", seconds: float = 600.0, ramp: tuple[int, ...] = ()) -> Degradation:
    now = utcnow()
    return Degradation(
        service=service,
        level=Level.LIMITED,
        since=now,
        until=now + timedelta(seconds=seconds),
        features_off=("suggestions",),
        capabilities={"indexing": 20},
        reason="sale",
        recovery_id="r1",
        fence=1,
        layer=layer,
        ramp=ramp,
        ramp_stage=600.0,
        by="ann",
    )


def known(recovery: RecoveryClient, count: int = 1) -> None:
    eventually(lambda: len(recovery.flags.in_force()) == count)


class Ear:
    """Hears the events of a client."""

    def __init__(self, client: OpenFeatureClient) -> None:
        self.heard: list[tuple[ProviderEvent, EventDetails]] = []
        for event in ProviderEvent:
            client.add_handler(event, self._hearing(event))

    def _hearing(self, event: ProviderEvent) -> Callable[[EventDetails], None]:
        return lambda details: self.heard.append((event, details))

    def wait_for(self, event: ProviderEvent) -> EventDetails:
        eventually(lambda: any(heard == event for heard, _ in self.heard), message=lambda: f"no {event}, but {self.heard}")
        return next(details for heard, details in self.heard if heard == event)


# --- answers, reasons and variants ---


def test_in_normal_times_everything_is_on_and_static(flags: OpenFeatureClient) -> None:
    on = flags.get_boolean_details("suggestions", False)
    assert (on.value, on.reason, on.variant, on.error_code, on.flag_metadata) == (True, Reason.STATIC, "on", None, {})
    full = flags.get_integer_details("indexing", 7)
    assert (full.value, full.reason, full.variant) == (100, Reason.STATIC, "100%")
    assert flags.get_float_details("indexing", 0.5).value == 1.0
    level = flags.get_string_details("level:search", "?")
    assert (level.value, level.reason, level.variant) == ("normal", Reason.STATIC, "normal")
    primary = flags.get_string_details("endpoint:db", "http://primary")
    assert (primary.value, primary.reason, primary.variant) == ("http://primary", Reason.DEFAULT, "primary")
    everything = flags.get_object_value("service:search", {})
    assert everything == {
        "service": "search",
        "level": "normal",
        "features_off": [],
        "capabilities": {},
        "endpoint": "",
        "degradations": [],
    }


def test_in_force_the_answers_say_who_did_it_and_until_when(
    flags: OpenFeatureClient, recovery: RecoveryClient, degradations: RedisDegradations, redis_client: Redis
) -> None:
    put = degraded()
    degradations.put(put)
    RedisEndpoints(redis_client).switch(Endpoint("db", "replica", "http://replica", utcnow(), fence=1))
    known(recovery)
    eventually(lambda: flags.get_string_value("endpoint:db", "http://primary") == "http://replica")
    cause = {"service": "search", "layer": "manual", "level": "limited", "until": put.until.timestamp(), "recovery_id": "r1"}
    cause |= {"by": "ann", "reason": "sale"}

    off = flags.get_boolean_details("suggestions", True)
    assert (off.value, off.reason, off.variant, off.error_code) == (False, Reason.DISABLED, "off", None)
    assert off.flag_metadata == cause | {"percent": 0}
    limited = flags.get_integer_details("indexing", 7)
    assert (limited.value, limited.reason, limited.variant) == (20, Reason.TARGETING_MATCH, "20%")
    assert flags.get_float_details("indexing", 0.5).value == 0.2
    level = flags.get_string_details("level:search", "?")
    assert (level.value, level.reason, level.variant) == ("limited", Reason.TARGETING_MATCH, "limited")
    backup = flags.get_string_details("endpoint:db", "http://primary")
    assert (backup.reason, backup.variant, backup.flag_metadata) == (Reason.TARGETING_MATCH, "backup", {"service": "db"})
    everything = flags.get_object_details("service:search", {})
    assert everything.reason == Reason.TARGETING_MATCH
    assert everything.value == {
        "service": "search",
        "level": "limited",
        "features_off": ["suggestions"],
        "capabilities": {"indexing": 20},
        "endpoint": "",
        "degradations": [cause],
    }
    assert dataclasses.asdict(everything)["variant"] == json.loads(json.dumps(everything.value))["level"], "hooks may copy and send it"


def test_during_a_ramp_the_targeting_key_decides_who_has_it_back(
    flags: OpenFeatureClient, recovery: RecoveryClient, degradations: RedisDegradations
) -> None:
    degradations.put(degraded(seconds=-1.0, ramp=(50,)))
    known(recovery)
    places = {f"user-{number}": share_of(f"user-{number}", "suggestions") for number in range(20)}

    answers = {key: flags.get_boolean_details("suggestions", True, EvaluationContext(key)) for key in places}

    assert {key: answer.value for key, answer in answers.items()} == {key: place < 50 for key, place in places.items()}
    assert {answer.reason for answer in answers.values()} == {Reason.SPLIT}
    assert {answer.variant for answer in answers.values()} == {"on", "off"}
    assert {answer.flag_metadata["percent"] for answer in answers.values()} == {50}
    without = {flags.get_boolean_value("suggestions", True) for _ in range(200)}
    assert without == {True, False}, "without a targeting key chance decides"
    half = flags.get_integer_details("indexing", 7)
    assert (half.value, half.reason, half.variant) == (60, Reason.SPLIT, "60%")


async def test_asyncio_gets_the_same_answers(flags: OpenFeatureClient, recovery: RecoveryClient, degradations: RedisDegradations) -> None:
    degradations.put(degraded())
    await asyncio.to_thread(known, recovery)

    off = await flags.get_boolean_details_async("suggestions", True)
    assert (off.value, off.reason) == (False, Reason.DISABLED)
    assert await flags.get_integer_value_async("indexing", 7) == 20
    assert await flags.get_float_value_async("indexing", 0.5) == 0.2
    assert await flags.get_string_value_async("level:search", "?") == "limited"
    assert (await flags.get_object_details_async("service:search", {})).variant == "limited"


# --- the context ---


def test_the_attribute_service_says_whose_degradations_count(
    flags: OpenFeatureClient, recovery: RecoveryClient, degradations: RedisDegradations
) -> None:
    degradations.put(degraded("search"))
    known(recovery)

    def on(**attributes: str) -> bool:
        return flags.get_boolean_value("suggestions", True, EvaluationContext(attributes=attributes))

    assert not on()
    assert not on(service="search")
    assert on(service="mail")

    degradations.put(degraded("*"))

    eventually(lambda: not on(service="mail"), message="the system's count for every service")


def test_a_service_that_is_no_name_is_told(flags: OpenFeatureClient) -> None:
    wrong = EvaluationContext(attributes={"service": 17})

    for details in (
        flags.get_boolean_details("suggestions", False, wrong),
        flags.get_integer_details("indexing", 7, wrong),
        flags.get_object_details("service:search", {}, wrong),
    ):
        assert (details.reason, details.error_code) == (Reason.ERROR, ErrorCode.INVALID_CONTEXT)
        assert details.error_message == "attribute 'service' is 17: it must be a service's name"


def test_a_domain_can_have_a_provider_for_its_service(recovery: RecoveryClient, degradations: RedisDegradations) -> None:
    api.set_provider_and_wait(RecoveryProvider(recovery, service="search"), "search")
    api.set_provider_and_wait(RecoveryProvider(recovery, service="mail"), "mail")
    degradations.put(degraded("search"))
    known(recovery)

    assert not api.get_client("search").get_boolean_value("suggestions", True)
    assert api.get_client("mail").get_boolean_value("suggestions", False)
    assert api.get_provider_metadata("mail").name == "celery-recovery"


# --- wrong questions ---


@pytest.mark.parametrize("flag", ["level:search", "endpoint:db", "service:search"])
def test_a_key_of_another_type_is_a_mismatch_and_gives_the_default(flags: OpenFeatureClient, flag: str) -> None:
    for details, default in (
        (flags.get_boolean_details(flag, False), False),
        (flags.get_integer_details(flag, 7), 7),
        (flags.get_float_details(flag, 0.7), 0.7),
    ):
        assert (details.value, details.reason, details.error_code) == (default, Reason.ERROR, ErrorCode.TYPE_MISMATCH)
        assert "string flags are 'level:<service>' and 'endpoint:<service>'" in (details.error_message or "")


@pytest.mark.parametrize("flag", ["suggestions", "level:", "endpoint:", "service:search"])
def test_a_string_that_names_no_level_and_no_endpoint_is_a_mismatch(flags: OpenFeatureClient, flag: str) -> None:
    details = flags.get_string_details(flag, "default")

    assert (details.value, details.error_code) == ("default", ErrorCode.TYPE_MISMATCH)


@pytest.mark.parametrize("flag", ["suggestions", "service:", "level:search"])
def test_an_object_that_is_no_service_is_a_mismatch(flags: OpenFeatureClient, flag: str) -> None:
    details = flags.get_object_details(flag, {"a": 1})

    assert (details.value, details.error_code) == ({"a": 1}, ErrorCode.TYPE_MISMATCH)


# --- events and status ---


def test_a_change_is_an_event_that_names_the_flags(
    flags: OpenFeatureClient, recovery: RecoveryClient, degradations: RedisDegradations
) -> None:
    recovery._watch._poll = 3_600.0  # only a push can tell in time
    ear = Ear(flags)
    ear.wait_for(ProviderEvent.PROVIDER_READY)

    degradations.put(degraded())

    changed = ear.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    assert changed.flags_changed == ["indexing", "level:search", "service:search", "suggestions"]
    assert changed.provider_name == "celery-recovery"
    assert not flags.get_boolean_value("suggestions", True)


def test_redis_away_is_stale_and_back_is_ready(short_dir: Path, tmp_path: Path) -> None:
    server = ValkeyServer(short_dir)
    server.start()
    try:
        with RecoveryClient(server.url, spool=tmp_path) as recovery:
            api.set_provider_and_wait(RecoveryProvider(recovery))
            flags = api.get_client()
            with Redis.from_url(server.url) as redis:
                RedisDegradations(redis).put(degraded())
            known(recovery)
            ear = Ear(flags)
            ear.wait_for(ProviderEvent.PROVIDER_READY)
            ear.heard.clear()

            server.kill()

            ear.wait_for(ProviderEvent.PROVIDER_STALE)
            assert flags.get_provider_status() == ProviderStatus.STALE
            off, on = flags.get_boolean_details("suggestions", True), flags.get_boolean_details("another", False)
            assert (off.value, off.reason, off.variant) == (False, Reason.STALE, "off")
            assert (on.value, on.reason) == (True, Reason.STALE)
            assert flags.get_string_details("endpoint:db", "http://primary").reason == Reason.STALE

            server.start()

            ear.wait_for(ProviderEvent.PROVIDER_READY)
            assert flags.get_provider_status() == ProviderStatus.READY
            eventually(lambda: flags.get_boolean_details("suggestions", False).reason == Reason.STATIC)
    finally:
        server.kill()


def test_never_reached_is_an_error_with_defaults_until_redis_is_there(short_dir: Path, tmp_path: Path) -> None:
    server = ValkeyServer(short_dir)
    try:
        with RecoveryClient(server.url, spool=tmp_path) as recovery:
            with pytest.raises(ProviderNotReadyError):
                api.set_provider_and_wait(RecoveryProvider(recovery))
            flags = api.get_client()
            ear = Ear(flags)
            ear.wait_for(ProviderEvent.PROVIDER_ERROR)
            assert flags.get_provider_status() == ProviderStatus.ERROR
            for details, default in (
                (flags.get_boolean_details("suggestions", False), False),
                (flags.get_integer_details("indexing", 7), 7),
                (flags.get_float_details("indexing", 0.5), 0.5),
                (flags.get_string_details("level:search", "?"), "?"),
                (flags.get_string_details("endpoint:db", "http://primary"), "http://primary"),
                (flags.get_object_details("service:search", {"a": 1}), {"a": 1}),
            ):
                assert (details.value, details.reason, details.error_code) == (default, Reason.ERROR, ErrorCode.PROVIDER_NOT_READY)

            server.start()

            ear.wait_for(ProviderEvent.PROVIDER_READY)
            assert flags.get_boolean_details("suggestions", False).reason == Reason.STATIC
    finally:
        server.kill()


# --- its life in the SDK ---


def test_a_provider_that_is_replaced_tells_no_more_and_leaves_the_client_open(
    recovery: RecoveryClient, degradations: RedisDegradations
) -> None:
    first, second = RecoveryProvider(recovery), RecoveryProvider(recovery)
    api.set_provider_and_wait(first)
    api.set_provider_and_wait(second)
    eventually(lambda: first._remove is None, message="the SDK ends the first one in a thread")
    ear = Ear(api.get_client())

    degradations.put(degraded())

    ear.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
    api.shutdown()
    assert second._remove is None
    assert not recovery.flags.enabled("suggestions")
    degradations.clear("search", 1, "manual")
    eventually(lambda: recovery.flags.enabled("suggestions"), message="the client goes on")


def test_a_provider_can_be_registered_again(recovery: RecoveryClient, degradations: RedisDegradations) -> None:
    provider = RecoveryProvider(recovery)
    api.set_provider_and_wait(provider)
    api.clear_providers()
    api.set_provider_and_wait(provider, "one")
    api.set_provider_and_wait(provider, "another")
    ears = Ear(api.get_client("one")), Ear(api.get_client("another"))

    degradations.put(degraded())

    for ear in ears:
        ear.wait_for(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED)
        assert [event for event, _ in ear.heard].count(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED) == 1


def test_hooks_see_what_was_resolved(flags: OpenFeatureClient, recovery: RecoveryClient, degradations: RedisDegradations) -> None:
    seen: list[tuple[str, object, str | None]] = []

    class Noting(Hook):
        def after(self, hook_context: HookContext, details: FlagEvaluationDetails[object], hints: HookHints) -> None:
            seen.append((hook_context.flag_key, details.value, details.variant))

    degradations.put(degraded())
    known(recovery)
    flags.add_hooks([Noting()])

    flags.get_boolean_value("suggestions", True)

    assert seen == [("suggestions", False, "off")]


def test_many_threads_ask_while_answers_change(flags: OpenFeatureClient, recovery: RecoveryClient, degradations: RedisDegradations) -> None:
    failed: list[object] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            details = flags.get_boolean_details("suggestions", True)
            if details.error_code or details.value != (details.variant == "on") or (details.reason == Reason.STATIC) != details.value:
                failed.append(details)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        degradations.put(degraded())
        known(recovery)
        degradations.clear("search", 1, "manual")
        known(recovery, 0)
    stop.set()
    for thread in threads:
        thread.join()

    assert failed == []


def test_the_client_brings_the_sdk_only_with_the_provider() -> None:
    program = "import sys, recovery.client; assert 'openfeature' not in sys.modules; import recovery.client.openfeature"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
