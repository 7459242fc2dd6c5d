"""The helpers that other tests trust."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from tests.support import FREE_PORTS, ValkeyServer, eventually, free_port, freeze, is_dead


def test_eventually_returns_the_first_true_value() -> None:
    answers = iter([0, "", "ready"])

    assert eventually(lambda: next(answers)) == "ready"


def test_eventually_tells_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match=r"not true within 0\.05 s: last value: 0"):
        eventually(lambda: 0, within=0.05)


def test_eventually_keeps_polling_through_failed_assertions() -> None:
    seen: list[int] = []

    def three_looks() -> bool:
        seen.append(1)
        assert len(seen) > 2, "too few looks"
        return True

    assert eventually(three_looks)
    assert len(seen) == 3


def test_eventually_passes_on_what_the_last_assertion_said() -> None:
    def never() -> bool:
        raise AssertionError("the shop is still down")

    with pytest.raises(AssertionError, match="the shop is still down"):
        eventually(never, within=0.05)


def test_the_redis_client_starts_empty(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0
    redis_client.set("left", "behind")


def test_the_redis_client_starts_empty_again(redis_client: redis.Redis) -> None:
    assert redis_client.dbsize() == 0


def test_a_server_can_be_killed_and_started_again(short_dir: Path) -> None:
    server = ValkeyServer(short_dir)
    server.start()
    first = server.pid

    server.kill()
    server.start()

    try:
        assert not psutil.pid_exists(first)
        assert redis.Redis.from_url(server.url).ping()
    finally:
        server.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_server_dies_with_the_tests_that_started_it(short_dir: Path) -> None:
    script = (
        "import pathlib, signal, sys, tests.support as s\n"
        "server = s.ValkeyServer(pathlib.Path(sys.argv[1])); server.start()\n"
        "print(server.pid, flush=True); signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, str(short_dir)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert parent.stdout
    with parent.stdout as said:
        child = psutil.Process(int(said.readline()))

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()

    eventually(lambda: is_dead(child.pid), message="the server outlived its parent")


def test_a_free_port_can_be_bound_and_is_not_given_twice() -> None:
    ports = [free_port() for _ in range(50)]

    assert len(set(ports)) == 50
    assert set(ports) <= set(FREE_PORTS)
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_frozen_process_stands_still_and_a_killed_one_is_dead_before_anybody_waits_for_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        freeze(process.pid)
        assert psutil.Process(process.pid).status() == psutil.STATUS_STOPPED
        assert not is_dead(process.pid)

        process.kill()

        eventually(lambda: is_dead(process.pid))
    assert is_dead(process.pid)
