"""The OpenFeature provider, asked as its users ask: through the SDK's public API, with a real Valkey behind it."""

import asyncio
import dataclasses
import json

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from redis import Redis

from recovery.client import RecoveryClient
from recovery.client.openfeature import RecoveryProvider
from recovery.degrade import RedisDegradations, RedisEndpoints
from recovery.degrade.ramp import share_of
from recovery.models import Endpoint, utcnow
from tests.openflags import degraded, known
from tests.support import eventually

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


@pytest.mark.parametrize("service", [17, "a b", "", "level:search"])
def test_a_service_that_is_no_name_is_told(flags: OpenFeatureClient, service: str | int) -> None:
    wrong = EvaluationContext(attributes={"service": service})

    for details in (
        flags.get_boolean_details("suggestions", False, wrong),
        flags.get_integer_details("indexing", 7, wrong),
        flags.get_object_details("service:search", {}, wrong),
    ):
        assert (details.reason, details.error_code) == (Reason.ERROR, ErrorCode.INVALID_CONTEXT)
        assert details.error_message == f"attribute 'service' is {service!r}: it must be a service's name"


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


@pytest.mark.parametrize("flag", ["suggestions", "level:", "endpoint:", "service:search", "level:a b", "endpoint:a b"])
def test_a_string_that_names_no_level_and_no_endpoint_is_a_mismatch(flags: OpenFeatureClient, flag: str) -> None:
    details = flags.get_string_details(flag, "default")

    assert (details.value, details.error_code) == ("default", ErrorCode.TYPE_MISMATCH)


@pytest.mark.parametrize("flag", ["suggestions", "service:", "service:a b", "level:search"])
def test_an_object_that_names_no_service_is_a_mismatch(flags: OpenFeatureClient, flag: str) -> None:
    details = flags.get_object_details(flag, {"own": 1})

    assert (details.value, details.error_code) == ({"own": 1}, ErrorCode.TYPE_MISMATCH)


@pytest.mark.parametrize("flag", ["suggestions", "service:", "level:search"])
def test_an_object_that_is_no_service_is_a_mismatch(flags: OpenFeatureClient, flag: str) -> None:
    details = flags.get_object_details(flag, {"a": 1})

    assert (details.value, details.error_code) == ({"a": 1}, ErrorCode.TYPE_MISMATCH)
