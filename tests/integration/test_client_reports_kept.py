"""Reports outlive a Redis that is away, forks and the end of their process, and no call waits for them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from recovery.breaker import RedisBreakers
from recovery.breaker.circuit import opens_for
from recovery.client import CircuitOpen, RecoveryClient, Stats
from recovery.client.draft import Draft
from recovery.client.sender import Sender
from tests.streams import failures
from tests.support import ValkeyServer, eventually, free_port


@pytest.fixture
def hung_url() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def refused_url() -> str:
    return f"redis://127.0.0.1:{free_port()}"


@pytest.fixture
def own_server(short_dir: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(short_dir)
    server.start()
    yield server
    server.kill()


# --- while Redis is away ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", ["hung_url", "refused_url"])
def test_no_call_waits_for_a_redis_that_is_away(away: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = request.getfixturevalue(away)

    for number in range(3):  # a busy machine makes one round slow, a call that waits makes every round slow
        took, stats = calls_while_away(url, tmp_path / str(number))
        if max(took.values()) <= 1.5 and max(took[name] for name in NEVER_WAIT) <= 0.35:
            break

    assert max(took.values()) <= 1.5, took  # a second, and what a busy machine adds
    assert max(took[name] for name in NEVER_WAIT) <= 0.35, took
    assert stats.spooled + stats.dropped == 3, "the report and two openings"
    assert stats.spooled == 3


NEVER_WAIT = ("report", "heartbeat", "endpoint", "chain", "heal", "fail")


def calls_while_away(url: str, spool: Path) -> tuple[dict[str, float], Stats]:
    """Return how long each call took, in seconds, and what the client counted."""
    client = RecoveryClient(url, spool=spool)
    breaker = client.breaker("gateway", failure_threshold=1, reset_timeout=0.01)

    def fail() -> None:
        with pytest.raises((ZeroDivisionError, CircuitOpen)):
            breaker.call(lambda: 1 / 0)

    def broken() -> int:
        raise ConnectionError

    calls: dict[str, Callable[[], object]] = {
        "report": lambda: client.report("web", ValueError("x")),
        "heartbeat": lambda: client.heartbeat("web"),
        "flags": lambda: client.flags.enabled("search"),
        "endpoint": lambda: client.endpoint("db", "primary"),
        "chain": client.chain("prices", broken, default=0),
        "heal": lambda: client.healing("web", attempts=1, ignore=(ZeroDivisionError,)).call(int),
        "fail": fail,
        "fail in half-open": fail,
        "close": client.close,
    }
    took = {}
    for name, call in calls.items():
        eventually(lambda: opens_for(breaker.circuit, breaker.clock()) == 0)
        began = time.monotonic()
        call()
        took[name] = time.monotonic() - began
    return took, client.stats()


def test_reports_of_an_outage_are_delivered_after_it(own_server: ValkeyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with RecoveryClient(own_server.url, spool=tmp_path) as client:
        client.report("web", "before")
        eventually(lambda: client.stats().sent == 1)
        own_server.kill()
        ids = [client.report("web", f"during {number}") for number in range(600)]
        eventually(lambda: client.stats().spooled == 600)

        own_server.start()
        eventually(lambda: client.stats().sent == 601)

        with Redis.from_url(own_server.url) as redis:
            assert [failure.id for failure in failures(redis)] == ids, "a restarted server without persistence has only what came after"
    assert caplog.text.count("does not answer") == 1
    assert caplog.text.count("answers again") == 1


def test_what_one_process_left_on_disk_the_next_one_delivers(
    refused_url: str, valkey_url: str, redis_client: Redis, tmp_path: Path
) -> None:
    away = RecoveryClient(refused_url, spool=tmp_path)
    report_id = away.report("web", "x")
    away.close()
    assert away.stats() == Stats(spooled=1)
    (left,) = tmp_path.glob("*.db")

    here = Sender(valkey_url, tmp_path)
    left.rename(here._spool.file)
    with RecoveryClient(valkey_url, spool=tmp_path) as client:
        eventually(lambda: client.stats() == Stats(sent=1))
    here.close()

    assert [failure.id for failure in failures(redis_client)] == [report_id]


def test_without_a_place_on_disk_losses_are_counted(refused_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")

    with RecoveryClient(refused_url, spool=blocked / "spool") as client:
        client.report("web", "x")
        eventually(lambda: client.stats() == Stats(dropped=1))

    assert "1 failure report(s) lost so far: Redis is away and" in caplog.text


def test_a_full_queue_drops_the_newest_and_counts(hung_url: str, tmp_path: Path) -> None:
    sender = Sender(hung_url, tmp_path, capacity=5)

    for number in range(300):
        sender.put(Draft(str(number), "web", "unknown", "error", "high", "", "test", 0.0, "{}", {}))

    assert sender.stats().dropped > 0
    eventually(lambda: (stats := sender.stats()).dropped + stats.queued + stats.spooled >= 300)
    sender.close()
    assert sender.stats().spooled + sender.stats().dropped == 300


# --- the life of a process ----------------------------------------------------------------------------------------------


FORKING = """
import os, sys
from recovery.client import RecoveryClient
client = RecoveryClient(sys.argv[1], spool=sys.argv[2])
breaker = client.breaker("gateway", failure_threshold=2)
client.report("web", "parent before")
assert client.flags.enabled("search")
pid = os.fork()
client.report("web", "child" if pid == 0 else "parent after")
if pid == 0:
    assert client.warm_up(30)
    for _ in range(2):
        try: breaker.call(lambda: 1 / 0)
        except ZeroDivisionError: pass
if pid == 0:
    import redis, time
    from recovery.breaker import RedisBreakers
    deadline = time.monotonic() + 60
    with redis.Redis.from_url(sys.argv[1]) as connection:
        while RedisBreakers(connection).view("gateway").state != "open" and time.monotonic() < deadline:
            time.sleep(0.02)
    client.close()
    os._exit(0 if client.stats().dropped == 0 else 1)
assert os.waitpid(pid, 0)[1] == 0
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_forked_child_sends_its_own_reports_and_none_twice(valkey_url: str, redis_client: Redis, tmp_path: Path) -> None:
    done = run(FORKING, valkey_url, str(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    messages = sorted(failure.message.partition(":")[0] for failure in failures(redis_client))
    assert messages == ["child", "circuit 'gateway' opened", "parent after", "parent before"]
    breaker = RedisBreakers(redis_client).view("gateway")
    assert breaker is not None
    assert breaker.state == "open"


def test_forks_in_the_middle_of_the_first_use_all_report(valkey_url: str, redis_client: Redis, tmp_path: Path) -> None:
    script = """
import os, sys
from recovery.client import RecoveryClient
client = RecoveryClient(sys.argv[1], spool=sys.argv[2])
client.report("web", "parent")
children = []
for number in range(5):
    pid = os.fork()
    if pid == 0:
        client.report("web", f"child {number}")
        client.close()
        os._exit(0 if client.stats().sent + client.stats().spooled else 1)
    children.append(pid)
assert not any(os.waitpid(pid, 0)[1] for pid in children)
"""
    done = run(script, valkey_url, str(tmp_path))

    assert (done.returncode, done.stderr) == (0, "")
    with RecoveryClient(valkey_url, spool=tmp_path):  # delivers what a child put on disk because the time was short
        expected = {"parent", *(f"child {number}" for number in range(5))}
        eventually(lambda: {failure.message for failure in failures(redis_client)} == expected)


@pytest.mark.parametrize("away", ["valkey_url", "hung_url", "refused_url"])
def test_a_process_that_ends_right_after_its_report_loses_nothing(away: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    script = """
import atexit, sys, time
from recovery.client import RecoveryClient
client = RecoveryClient(sys.argv[1], spool=sys.argv[2])
client.report("web", "last words")
ended = time.monotonic()
atexit._run_exitfuncs()
stats = client.stats()
print(time.monotonic() - ended, stats.sent + stats.spooled, stats.dropped)
"""
    done = run(script, request.getfixturevalue(away), str(tmp_path))

    seconds, kept, lost = done.stdout.split()
    assert int(kept) >= 1, done
    assert lost == "0", done
    assert float(seconds) <= 5, "a second, and what a busy machine adds"


def test_a_killed_process_leaves_a_readable_spool(refused_url: str, tmp_path: Path) -> None:
    script = """
import sys, time
from recovery.client import RecoveryClient
client = RecoveryClient(sys.argv[1], spool=sys.argv[2])
while True:
    client.report("web", "x" * 500)
    time.sleep(0.001)
"""
    with subprocess.Popen([sys.executable, "-c", script, refused_url, str(tmp_path)]) as process:
        sender = Sender(refused_url, tmp_path)
        eventually(lambda: sender._spool.count() > 100, within=60)
        os.kill(process.pid, signal.SIGKILL)

    reports = sender._spool.oldest(10_000)
    sender.close()
    assert len(reports) > 100
    assert all(json.loads(report)["service"] == "web" for _, report in reports)


def test_importing_the_client_brings_nothing_heavy() -> None:
    done = run("import sys, recovery.client; print(*sys.modules)")

    heavy = {"celery", "kombu", "sqlalchemy", "pydantic", "redis", "aiohttp", "asyncio", "sqlite3", "recovery.models"}
    assert heavy.isdisjoint(done.stdout.split())
