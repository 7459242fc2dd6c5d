"""Reports and heartbeats of a service reach Redis, and what cannot is counted and said."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from redis import Redis

from recovery.client import CircuitOpen, RecoveryClient, Stats
from recovery.errors import ConfigurationError
from recovery.models import Severity
from tests.streams import failures
from tests.support import eventually


@pytest.fixture
def client(valkey_url: str, redis_client: Redis, tmp_path: Path) -> Iterator[RecoveryClient]:
    with RecoveryClient(valkey_url, spool=tmp_path / "spool") as client:
        yield client


def test_a_report_reaches_the_stream_as_a_failure(client: RecoveryClient, redis_client: Redis) -> None:
    report_id = client.report("web", TimeoutError("no answer"), category="network", severity="critical", details={"attempt": 3})

    eventually(lambda: client.stats() == Stats(sent=1))
    (failure,) = failures(redis_client)
    assert failure.id == report_id
    assert (failure.service, failure.category, failure.type, failure.severity) == ("web", "network", "timeout", Severity.CRITICAL)
    assert failure.message == "TimeoutError: no answer"
    assert failure.source == f"client@{socket.gethostname()}"


def test_a_text_is_an_error_too(client: RecoveryClient, redis_client: Redis) -> None:
    client.report("web", "the queue is stuck", labels={"region": "eu"}, fingerprint="stuck", recoverable=False)

    (failure,) = eventually(lambda: failures(redis_client))
    assert (failure.message, failure.fingerprint, failure.recoverable, failure.labels) == (
        "the queue is stuck",
        "stuck",
        False,
        {"region": "eu"},
    )


def test_many_threads_lose_nothing(client: RecoveryClient, redis_client: Redis) -> None:
    threads = [Thread(target=lambda: [client.report("web", "x") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    eventually(lambda: client.stats() == Stats(sent=1_600))
    assert len({failure.id for failure in failures(redis_client)}) == 1_600


def test_a_report_that_cannot_be_valid_is_counted_and_said(client: RecoveryClient, caplog: pytest.LogCaptureFixture) -> None:
    assert client.report("no service!", "x")
    assert client.report(None, "x")  # type: ignore[arg-type]

    assert client.stats() == Stats(dropped=2)
    assert "a report for service 'no service!' is not valid: a name has 1 to 100 letters" in caplog.text


def test_losses_are_said_at_every_doubling(caplog: pytest.LogCaptureFixture, client: RecoveryClient) -> None:
    with caplog.at_level(logging.ERROR):
        for _ in range(20):
            client.report("not valid!", "x")

    assert [record.args[0] for record in caplog.records if record.args] == [1, 2, 4, 8, 16]  # type: ignore[index]


def test_a_closed_client_counts_what_it_drops(client: RecoveryClient) -> None:
    client.close()

    client.report("web", "x")

    assert client.stats() == Stats(dropped=1)


def test_a_guard_reports_and_lets_pass(client: RecoveryClient, redis_client: Redis) -> None:
    guard = client.guard("web", category="database", ignore=(KeyError,))

    @guard
    def broken() -> None:
        raise ValueError("as a function")

    @guard
    async def broken_later() -> None:
        raise ValueError("as a coroutine")

    with pytest.raises(ValueError, match="as a function"):
        broken()
    with pytest.raises(ValueError, match="as a coroutine"):
        asyncio.run(broken_later())
    with pytest.raises(ValueError, match="as a block"), guard:
        raise ValueError("as a block")

    for silent in (KeyError, KeyboardInterrupt, CircuitOpen):
        with pytest.raises(silent), guard:
            raise silent
    eventually(lambda: client.stats() == Stats(sent=3))
    assert [failure.message for failure in failures(redis_client)] == [
        f"ValueError: as a {kind}" for kind in ("function", "coroutine", "block")
    ]


def test_a_guarded_function_returns_what_it_returned(client: RecoveryClient) -> None:
    @client.guard("web")
    async def answer() -> int:
        return 42

    assert asyncio.run(answer()) == 42
    assert client.guard("web")(max)(1, 2) == 2


def test_a_guard_refuses_what_it_cannot_see_into(client: RecoveryClient) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"A guard cannot take the generator .*numbers"):
        client.guard("web")(numbers)
    with pytest.raises(ConfigurationError, match=r"Guard option ignore=.*ValueError.*: must be a tuple of exception classes"):
        client.guard("web", ignore=[ValueError])  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), "5", True])
def test_a_steady_heartbeat_needs_a_pace(client: RecoveryClient, seconds: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Heartbeat option seconds=.*: must be seconds from 0.01 to 86400"):
        client.heartbeat_every("web", seconds)


def test_heartbeats_are_seconds_since_the_epoch(client: RecoveryClient, redis_client: Redis) -> None:
    client.heartbeat("web")

    eventually(lambda: redis_client.exists("recovery:heartbeat:web"))
    assert abs(float(redis_client.get("recovery:heartbeat:web") or 0) - time.time()) < 60


def test_a_steady_heartbeat_stops_when_told(client: RecoveryClient, redis_client: Redis) -> None:
    def last() -> float:
        return float(redis_client.get("recovery:heartbeat:web") or 0)

    with client.heartbeat_every("web", 0.05):
        first = eventually(last)
        eventually(lambda: last() > first)
    client.report("web", "marker")
    eventually(lambda: client.stats().sent == 1)
    stopped_at = last()

    client.report("web", "marker")
    eventually(lambda: client.stats().sent == 2)
    assert last() == stopped_at
