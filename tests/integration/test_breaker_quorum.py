"""A quorum of two over real processes: one that is sick alone opens it for itself, two agree for all, and a dead one agrees no more."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from recovery.breaker import RedisBreakers
from recovery.breaker.shared import BREAKER_HISTORY, keys_of
from recovery.models import BreakerState, BreakerView
from tests.streams import failures
from tests.support import ValkeyServer, die_with_parent, eventually

ROOT = Path(__file__).parents[2]
VOTE = 6.0
"""Seconds for which a vote counts; it is renewed every second, so a machine must stand still for five to lose one."""


class Voter:
    """One process of `tests.voter`."""

    def __init__(self, url: str, spool: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.voter", url, str(spool), str(VOTE)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread of a test runs yet when a voter starts
        )

    def do(self, line: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def stands(self, state: str) -> bool:
        return bool(self.do("look")["state"] == state)

    def fall_sick(self) -> None:
        """Fail until it opens for itself."""
        assert [self.do("fail")["ended"] for _ in range(4)] == ["failed", "failed", "failed", "refused"]

    def is_connected(self) -> bool:
        return bool(self.do("look")["connected"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.process.communicate(timeout=60)


class Fleet:
    """A Valkey of its own, and processes that share the breaker through it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._server = ValkeyServer(folder)
        self._server.start()
        stack.callback(self._server.kill)
        self.redis = stack.enter_context(Redis.from_url(self._server.url, socket_timeout=30))
        self.board = RedisBreakers(self.redis)

    def join(self, *names: str) -> list[Voter]:
        """Start processes and wait until each is connected."""
        voters = [Voter(self._server.url, self._folder / name) for name in names]
        for voter in voters:
            self._stack.callback(voter.end)
        for voter in voters:
            eventually(voter.is_connected, within=90)
        return voters

    def view(self) -> BreakerView:
        view = self.board.view("gateway")
        assert view is not None
        return view

    def votes(self) -> dict[bytes, float]:
        """Return who has voted, and until when each vote counts."""
        found = self.redis.zrange(keys_of("gateway")[3], 0, -1, withscores=True)
        return dict(cast("list[tuple[bytes, float]]", found))

    def openings(self) -> list[dict[str, str]]:
        entries: Any = self.redis.xrange(BREAKER_HISTORY)
        told = [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]
        return [entry for entry in told if entry["to"] == "open"]


@pytest.fixture
def fleet(short_dir: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(short_dir, stack)


def test_one_process_opens_it_for_itself_and_the_agreement_of_a_second_opens_it_for_the_third(fleet: Fleet) -> None:
    one, two, three = fleet.join("one", "two", "three")

    one.fall_sick()

    (vote,) = eventually(fleet.votes).items()
    assert vote[0].decode() == one.do("look")["process"]
    eventually(lambda: fleet.votes().get(vote[0], 0.0) > vote[1], message="it is renewed while it is open")
    eventually(lambda: fleet.view().votes == 1)
    assert (fleet.view().state, fleet.openings()) == (BreakerState.CLOSED, [])
    assert [voter.do("pass")["ended"] for voter in (one, two, three)] == ["refused", "passed", "passed"]

    two.fall_sick()

    eventually(lambda: three.stands("open"))
    assert three.do("pass")["ended"] == "refused", "it has not failed once itself"
    (opening,) = fleet.openings()
    assert opening["reason"].startswith("2 processes opened it, the last: 3 failures in a row")
    assert opening["by"] in {voter.do("look")["process"] for voter in (one, two)}
    eventually(lambda: failures(fleet.redis))
    assert [(failure.service, failure.category) for failure in failures(fleet.redis)] == [("payments", "circuit_open")]


def test_a_process_that_is_killed_agrees_no_more_once_its_vote_is_over(fleet: Fleet) -> None:
    one, two, three = fleet.join("one", "two", "three")
    one.fall_sick()
    eventually(lambda: len(fleet.votes()) == 1)

    one.kill()

    eventually(lambda: fleet.view().votes == 0, message="its vote is over")
    two.fall_sick()
    eventually(lambda: fleet.view().votes == 1)
    assert (fleet.view().state, three.do("pass")["ended"]) == (BreakerState.CLOSED, "passed"), "two is alone"

    (again,) = fleet.join("again")
    again.fall_sick()
    eventually(lambda: three.stands("open"))
    assert len(fleet.openings()) == 1
