"""Two real beats on one database and one broker: whatever happens to the one that leads, never do both send."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty
from typing import Any

import pytest
from kombu import Connection, Exchange, Queue

from recovery.models import utcnow
from tests.stage import Stage
from tests.support import eventually, freeze
from workers.leadership import LEASE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TAKEOVER = 15.0
"""Seconds after which, at the latest, another beat sends."""
TICK_EXPIRES = 2
"""Seconds; how the time of sending is told from a tick's message."""


@dataclass(frozen=True)
class Tick:
    """One message that a beat sent."""

    beat: int
    at: datetime


class Ear:
    """Reads every message of the queue `maintenance`, as a worker would.

    Args:
        stage: whose broker to listen to.
    """

    def __init__(self, stage: Stage) -> None:
        options = {"global_keyprefix": "recovery:celery:", "priority_steps": list(range(10))}
        self._connection = Connection(stage.settings.broker, transport_options={} if stage.settings.broker_url else options)
        self._queue = self._connection.SimpleQueue(Queue("maintenance", Exchange("maintenance"), "maintenance", no_declare=True))
        self.ticks: list[Tick] = []

    def close(self) -> None:
        self._queue.close()
        self._connection.close()

    def hear(self) -> list[Tick]:
        """Return every tick that was ever sent, by its sender's process id."""
        while True:
            try:
                message: Any = self._queue.get(block=False)
            except Empty:
                return self.ticks
            message.ack()
            if message.headers["task"] == "maintenance.tick":
                self.ticks.append(_tick(message.headers))

    def of(self, beat: subprocess.Popen[bytes], since: datetime) -> list[Tick]:
        """Return what a beat sent after a moment."""
        return [tick for tick in self.hear() if tick.beat == beat.pid and tick.at > since]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(up=False) as stage:
        if stage.settings.embedded:
            stage.start("-c", "from workers.cli import main; main()", "broker")
            eventually(lambda: "The broker is ready" in stage.tail(), within=60, message=stage.tail)
        yield stage


@pytest.fixture(scope="module")
def ear(stage: Stage) -> Iterator[Ear]:
    ear = Ear(stage)
    yield ear
    ear.close()


@dataclass
class Pair:
    """Two beats, one of which leads."""

    leader: subprocess.Popen[bytes]
    standby: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def beats() -> list[subprocess.Popen[bytes]]:
    """Every beat that was started, the one that leads first."""
    return []


@pytest.fixture
def pair(stage: Stage, ear: Ear, beats: list[subprocess.Popen[bytes]]) -> Pair:
    """Two beats that run side by side; who outlived the test before leads."""
    beats[:] = [beat for beat in beats if beat.poll() is None]
    if not beats:
        since = utcnow()
        beats.append(_beat(stage))
        eventually(lambda: ear.of(beats[0], since), within=90, message=stage.tail)
    if len(beats) == 1:
        waiting = stand_bys(stage)
        beats.append(_beat(stage))
        eventually(lambda: stand_bys(stage) > waiting, within=90, message=stage.tail)
    return Pair(*beats)


def stand_bys(stage: Stage) -> int:
    """Return how often a beat said that another one leads."""
    return stage.tail().count("another beat leads, this one stands by")


def _tick(headers: dict[str, Any]) -> Tick:
    sender, expires = headers["origin"].partition("@")[0], datetime.fromisoformat(headers["expires"])
    return Tick(int(sender.removeprefix("gen")), expires - timedelta(seconds=TICK_EXPIRES))


def _beat(stage: Stage) -> subprocess.Popen[bytes]:
    return stage.start("-m", "celery", "-A", "workers", "beat")


def seconds_of_silence(ear: Ear, before: subprocess.Popen[bytes], after: subprocess.Popen[bytes], since: datetime) -> float:
    """Return how long nobody sent between the two beats."""
    last = max(tick.at for tick in ear.hear() if tick.beat == before.pid)
    first = eventually(lambda: ear.of(after, since), within=90)[0]
    return (first.at - last).total_seconds()


def test_two_beats_on_one_schedule_one_wins(ear: Ear, pair: Pair) -> None:
    since = utcnow()

    eventually(lambda: len(ear.of(pair.leader, since)) >= 4, within=60)

    assert ear.of(pair.standby, since) == []


def test_fault_11_a_beat_that_leads_is_killed_and_another_takes_over_in_time(ear: Ear, pair: Pair) -> None:
    since = utcnow()

    pair.leader.kill()
    pair.leader.wait(30)

    assert seconds_of_silence(ear, pair.leader, pair.standby, since) <= TAKEOVER


def test_a_beat_that_ends_in_order_leaves_the_lead_to_the_other(ear: Ear, pair: Pair, stage: Stage) -> None:
    since = utcnow()

    pair.leader.terminate()

    assert pair.leader.wait(60) == 0
    assert eventually(lambda: ear.of(pair.standby, since), within=60, message=stage.tail)


def test_fault_11_a_beat_that_leads_is_frozen_and_never_fires_again_once_another_took_over(ear: Ear, pair: Pair, stage: Stage) -> None:
    freeze(pair.leader.pid)
    frozen = utcnow()

    silence = seconds_of_silence(ear, pair.leader, pair.standby, frozen)
    waiting = stand_bys(stage)
    os.kill(pair.leader.pid, signal.SIGCONT)
    eventually(lambda: stand_bys(stage) > waiting, within=90, message=stage.tail)
    woken = utcnow()
    eventually(lambda: len(ear.of(pair.standby, woken)) >= 3, within=60)

    assert ear.of(pair.leader, frozen) == []
    assert LEASE / 2 <= silence <= TAKEOVER, "the frozen one's lease was waited for, and not longer"
