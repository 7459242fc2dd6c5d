"""A real platform watches itself: its parts give signs of life, and who is frozen is missed."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

import celeryconfig
from recovery.config.load import load
from recovery.models import RecoveryState, utcnow
from recovery.watch import Part, PartStatus, PlatformHealth, PlatformStatus, Watch
from recovery.watch.signs import CANARY_LIMIT
from tests.sickbed import Patient
from tests.stage import Stage
from tests.support import eventually
from workers.cli.parts import kinds

pytestmark = pytest.mark.slow

SECRET = "a-path-that-is-a-secret"


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    asked = 0


class Answer(BaseHTTPRequestHandler):
    server: Listener

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    server = Listener(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def stage(listener: Listener) -> Iterator[Stage]:
    ping = f'ping_url = "http://127.0.0.1:{listener.server_port}/{SECRET}"\nping_every = 10'
    patients = [Patient("web", "healthy_for = 0"), Patient("shop", "healthy_for = 0")]
    with Stage(patients, f"[platform]\nlease = 2\ncooldown = 0\nblind_after = 8\n{ping}") as running:
        yield running


def health(stage: Stage, now: datetime | None = None) -> PlatformHealth:
    fleet = load(stage.config, kinds(), environ=stage.environ).fleet
    return Watch(stage.store, lambda: fleet, celeryconfig.QUEUES, lambda: now or utcnow()).health()


def part(found: PlatformHealth, name: str) -> Part:
    named = [each for each in found.parts if each.name == name]
    assert named, f"{name} is not among {[each.name for each in found.parts]}"
    return named[0]


def worker(name: str) -> str:
    return f"worker:{name}@{socket.gethostname()}"


@contextmanager
def frozen(process: psutil.Process) -> Iterator[None]:
    process.suspend()
    try:
        eventually(lambda: process.status() == psutil.STATUS_STOPPED)
        yield
    finally:
        process.resume()


def test_all_parts_of_a_running_platform_give_signs_of_life(stage: Stage, listener: Listener) -> None:
    eventually(lambda: health(stage).status is PlatformStatus.OK, 60, lambda: f"{health(stage).troubles}")
    found = health(stage)

    names = {each.name for each in found.parts}
    assert {worker("intake"), worker("recover"), worker("health"), "sight", "tick", "leases", "recoveries", "ping"} <= names
    assert {f"canary:{queue}" for queue in celeryconfig.QUEUES} <= names
    assert part(found, "tick").message.startswith(f"ticks come from {stage.part('beat').pid}@")
    assert part(found, worker("health")).message == "serves health"
    eventually(lambda: listener.asked, 60, "nobody outside was told that all is well")
    eventually(lambda: part(health(stage), "ping").status is PartStatus.OK, 20)
    assert SECRET not in stage.tail()


def test_a_worker_started_by_hand_is_watched_and_not_missed_when_it_is_stopped(stage: Stage) -> None:
    process = stage.start("-m", "celery", "-A", "workers", "worker", "-n", "extra@%h", "-Q", "restart", "-c", "1")
    named = worker("extra")
    eventually(lambda: named in stage.store.pulses(), 60, stage.tail)
    first = stage.store.pulses()[named]
    assert first.detail["queues"] == ["restart"]
    assert first.detail["pid"] == process.pid
    later = first.at + timedelta(seconds=31)
    assert part(health(stage, later), named).status is PartStatus.LATE

    process.send_signal(signal.SIGTERM)
    process.wait(60)

    assert stage.store.pulses()[named].detail == {"stopped": True}
    assert named not in [each.name for each in health(stage, later).parts]


def test_a_frozen_worker_is_told_by_the_canaries_of_its_queues_alone(stage: Stage) -> None:
    eventually(lambda: {"canary:restart", "canary:failures"} <= stage.store.pulses().keys(), 60)

    with frozen(stage.part("recover")):

        def only_failures_came() -> bool:
            for queue in ("restart", "failures"):
                stage.send("maintenance.canary", to=queue, queue=queue, sent_at=time.time())
            pulses = stage.store.pulses()
            late_by_then = pulses["canary:restart"].at + timedelta(seconds=CANARY_LIMIT + 0.5)
            found = health(stage, late_by_then)
            assert part(found, "canary:restart").status is PartStatus.LATE
            return part(found, "canary:failures").status is PartStatus.OK

        eventually(only_failures_came, 30, every=0.3)
        silent_since = stage.store.pulses()["canary:restart"].at

    eventually(lambda: stage.store.pulses()["canary:restart"].at > silent_since, 60, "the thawed worker took no canary")


def test_while_nothing_is_swept_the_platform_says_so_once_and_acts_only_where_a_person_asks(stage: Stage) -> None:
    stage.await_healthy(within=60)
    before, last = utcnow(), stage.history.last_event_id()

    with frozen(stage.part("health")):
        eventually(lambda: health(stage).status is PlatformStatus.BLIND, 60)
        eventually(lambda: told(stage, last) == ["platform:blind"], 60, lambda: f"{told(stage, last)}")
        stage.send("recovery.report_failure", service="web", category="service_unavailable")
        waiting = stage.opened("web", before, within=60)
        stage.send("recovery.trigger", service="shop", strategy="restart")
        assert stage.closed("shop", before, within=60).state is RecoveryState.SUCCEEDED
        eventually(lambda: (stage.store.recovery(waiting.id) or waiting).held_by == "blind", 60, stage.tail)
        assert stage.patients["web"].starts == 1

    eventually(lambda: health(stage).blind is None, 60)
    assert stage.closed("web", before, within=60).state is RecoveryState.SUCCEEDED
    assert stage.patients["web"].starts == 2
    eventually(lambda: told(stage, last) == ["platform:blind", "platform:sees"], 60, lambda: f"{told(stage, last)}")


def told(stage: Stage, last: int) -> list[str]:
    """The events about the platform itself after the event `last`."""
    names = [noted.event.name for noted in stage.history.events_after(last)]
    return [name for name in names if name.startswith("platform:")]


def test_a_beat_that_stands_still_makes_the_tick_late(stage: Stage) -> None:
    eventually(lambda: part(health(stage), "tick").status is PartStatus.OK, 60)

    with frozen(stage.part("beat")):
        eventually(lambda: part(health(stage), "tick").status is PartStatus.LATE, 60)
        assert part(health(stage), "tick").message.startswith("no tick for ")

    eventually(lambda: part(health(stage), "tick").status is PartStatus.OK, 60)
