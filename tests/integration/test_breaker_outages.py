"""Eight processes share a breaker through a restart of Redis, a partition and a failover, and keep what is promised."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from recovery.breaker import RedisBreakers
from recovery.breaker.shared import BREAKER_HISTORY
from recovery.models import BreakerOrder
from tests.cable import Cable
from tests.support import ValkeyServer, eventually, free_port

ROOT = Path(__file__).parents[2]
SIDE = 4
"""Processes on each side of the partition."""


class Caller:
    """One process of `tests.breaker_caller`."""

    def __init__(self, url: str, spool: Path, flag: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.breaker_caller", url, str(spool), str(flag)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("how are you?\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


class Fleet:
    """Two halves of a fleet, each with a cable of its own to one Redis, and something that they call."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "one").mkdir()
        self.server = ValkeyServer(folder / "one", "--port", str(self.port))
        stack.callback(self.server.kill)
        self.server.start()
        self.cables = [Cable(self.server.socket) for _ in range(2)]
        for cable in self.cables:
            stack.callback(cable.close)
        self.flags = [folder / "left-is-down", folder / "right-is-down"]
        self.halves: list[list[Caller]] = []
        for cable, flag in zip(self.cables, self.flags, strict=True):
            half = [Caller(cable.url, folder / f"spool-{flag.name}-{number}", flag) for number in range(SIDE)]
            self.halves.append(half)
            for caller in half:
                stack.callback(caller.end)

    def all(self, side: int, **expected: object) -> None:
        """Wait until every process of a side stands so."""

        def are_so() -> bool:
            found = [caller.ask() for caller in self.halves[side]]
            assert all({name: each[name] for name in expected} == expected for each in found), (side, expected, found)
            return True

        eventually(are_so, within=90, every=0.1)

    def both(self, **expected: object) -> None:
        for side in range(2):
            self.all(side, **expected)


@pytest.fixture
def fleet(short_dir: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(short_dir, stack)


def on(server: ValkeyServer, do: Callable[[Redis, RedisBreakers], object]) -> Any:
    with Redis.from_url(server.url, socket_timeout=30) as redis:
        return do(redis, RedisBreakers(redis))


def openings(server: ValkeyServer) -> int:
    entries: Any = on(server, lambda redis, _: redis.xrange(BREAKER_HISTORY))
    return sum(fields[b"to"] == b"open" for _, fields in entries)


def reset(server: ValkeyServer) -> None:
    on(server, lambda _, board: board.operate("gateway", BreakerOrder.RESET, "ann", "mended"))


@pytest.mark.slow
def test_a_restart_a_partition_and_a_failover_keep_what_is_promised(fleet: Fleet) -> None:
    left, right = fleet.cables
    fleet.both(state="closed", connected=True)

    # one half's calls fail: all of the fleet opens, once
    fleet.flags[0].touch()
    fleet.both(state="open", trips=1)
    assert openings(fleet.server) == 1

    # Redis ends and comes back empty: the fleet's memory is Redis's, nothing opens a second time
    fleet.server.kill()
    fleet.both(state="open", connected=False)
    fleet.server.start()
    fleet.both(state="open", connected=True, trips=1)
    view = on(fleet.server, lambda _, board: board.view("gateway"))
    assert (view.state, view.trips) == ("open", 1)
    assert openings(fleet.server) == 0

    # a partition: what an operator says reaches one half now, the other one later
    left.cut()
    fleet.all(0, connected=False)
    fleet.flags[0].unlink()
    reset(fleet.server)
    fleet.all(1, state="closed")
    fleet.all(0, state="open")
    left.mend()
    fleet.both(state="closed", connected=True)

    # the half that is cut off breaks alone; its opening arrives when it is back, as one
    left.cut()
    fleet.all(0, connected=False)
    fleet.flags[0].touch()
    fleet.all(0, state="open", trips=2)
    fleet.all(1, state="closed", trips=1)
    left.mend()
    fleet.both(state="open", connected=True, trips=2)
    assert openings(fleet.server) == 1

    # a failover to a replica
    fleet.flags[0].unlink()
    (fleet.folder / "two").mkdir()
    replica = ValkeyServer(fleet.folder / "two", "--replicaof", "127.0.0.1", str(fleet.port))
    replica.start()
    try:
        eventually(lambda: on(replica, lambda redis, _: redis.info("replication"))["master_link_status"] == "up", within=90)
        fleet.server.kill()
        fleet.both(connected=False, state="open")
        on(replica, lambda redis, _: redis.replicaof("NO", "ONE"))
        left.mend(replica.socket)
        right.mend(replica.socket)
        fleet.both(state="open", connected=True, trips=2)
        reset(replica)
        fleet.both(state="closed")
        assert openings(replica) == 1
    finally:
        replica.kill()

    for half in fleet.halves:
        for caller in half:
            seen = caller.ask()
            assert seen["odd"] == ""
            assert seen["longest"] < 2.0, "no call waits for Redis, and a machine under load adds a little"
            assert min(seen["passed"], seen["refused"]) > 0
