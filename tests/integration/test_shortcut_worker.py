"""Reports that take the shortcut of a real worker: asked to stop, killed, and seen from outside."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_platform_edge import Platform
from tests.support import ValkeyServer, eventually

REPORTS = 400
WAITING = ("recovery:celery:failures", "recovery:celery:unacked")
"""The queue, and what the worker has in its hands, as the Redis transport names them."""
MAY_BE_LOST = 1
"""kombu's Redis transport takes a message off its queue in one command and notes that it has it in the next; what dies in between takes
that one message along. A producer that must not lose any reports through `RecoveryClient`."""
TAKEN = "SELECT failure_id FROM failures"
ANSWERED = "SELECT task_id FROM celery_taskmeta WHERE status = 'SUCCESS'"


@pytest.fixture
def platform(tmp_path: Path, valkey_server: ValkeyServer) -> Iterator[Platform]:
    """A worker of its own: it ends in the middle of its work."""
    running = Platform(tmp_path, valkey_server.url)
    running.redis.flushall()
    try:
        running.start()
        yield running
    finally:
        running.stop()


def waiting(platform: Platform) -> list[str]:
    """Return the ids of messages that a worker will be given, or given again."""
    queue, unacknowledged = WAITING
    messages = [json.loads(raw) for raw in platform.redis.lrange(queue, 0, -1)]
    messages += [json.loads(raw)[0] for raw in platform.redis.hvals(unacknowledged)]
    return [message["headers"]["id"] for message in messages]


def flood(platform: Platform) -> set[str]:
    """Let the worker find many reports at once, and return their ids when it is in the middle of them."""
    os.kill(platform.worker.pid, signal.SIGSTOP)
    sent = {platform.call("recovery.report_failure", service="shop", category="service_unavailable").id for _ in range(REPORTS)}
    os.kill(platform.worker.pid, signal.SIGCONT)
    eventually(lambda: len(platform.rows(TAKEN)) > REPORTS // 10, within=60, every=0.005, message=platform.said)
    return sent


@pytest.mark.slow
def test_a_worker_that_is_asked_to_stop_acknowledges_what_it_has_written(platform: Platform) -> None:
    sent = flood(platform)
    platform.worker.send_signal(signal.SIGTERM)
    assert platform.worker.wait(60) == 0

    left = waiting(platform)
    written = {task_id for (task_id,) in platform.rows(ANSWERED)}

    assert len(left) == len(set(left))
    assert (written & set(left), written | set(left)) == (set(), sent)
    assert {name for (name,) in platform.rows(TAKEN)} == written
    assert 0 < len(written) < REPORTS


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_each_report_written_or_waiting(platform: Platform) -> None:
    sent = flood(platform)
    os.killpg(platform.worker.pid, signal.SIGKILL)
    platform.worker.wait()
    left = set(waiting(platform))

    platform.redis.delete("recovery:celery:unacked_mutex")
    known = {name for (name,) in platform.rows(TAKEN)} | left
    assert len(sent - known) <= MAY_BE_LOST
    sent = known

    platform.start()
    eventually(lambda: {name for (name,) in platform.rows(ANSWERED)} == sent, within=90, message=platform.said)
    taken = [name for (name,) in platform.rows(TAKEN)]
    assert (len(taken), set(taken)) == (len(sent), sent)
    assert platform.rows("SELECT failures FROM recoveries") == [(len(sent),)]


@pytest.mark.slow
def test_reports_outlive_the_connection_to_their_broker(platform: Platform) -> None:
    sent = flood(platform)
    platform.redis.client_kill_filter(_type="normal", skipme=True)

    eventually(lambda: {name for (name,) in platform.rows(ANSWERED)} == sent, within=120, message=platform.said)
    eventually(lambda: not waiting(platform), within=120, message=platform.said)

    assert platform.rows("SELECT failures FROM recoveries") == [(REPORTS,)]
