"""The OpenFeature provider's events and its life in the SDK, while Redis comes and goes and answers change."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.event import ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.hook import Hook, HookContext, HookHints
from openfeature.provider import ProviderStatus
from redis import Redis

from recovery.client import RecoveryClient
from recovery.client.openfeature import RecoveryProvider
from recovery.degrade import RedisDegradations
from tests.openflags import Ear, degraded, known
from tests.support import ValkeyServer, eventually

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

            with pytest.raises(ProviderNotReadyError):
                api.set_provider_and_wait(RecoveryProvider(recovery), "late")
            late = api.get_client("late")
            assert late.get_boolean_details("suggestions", True).reason == Reason.STALE, "it answers all the same"

            server.start()

            ear.wait_for(ProviderEvent.PROVIDER_READY)
            assert flags.get_provider_status() == ProviderStatus.READY
            eventually(lambda: late.get_provider_status() == ProviderStatus.READY)
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
