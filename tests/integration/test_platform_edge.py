"""One worker, one Valkey, one SQLite file: what goes in by message or stream comes out as a recovery of a real process."""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, states
from celery.result import AsyncResult
from redis import Redis

from recovery.errors import FailureInvalid, RecoveryError, ServiceNotFound
from tests.support import ValkeyServer, die_with_parent, eventually, free_port

HOUSE = Path(__file__).resolve().parents[2]
ALL_BUT_HEALTH = "restart,cache_rebuild,degrade,backup_fallback,circuit_reset,failures,alerts,maintenance"

SHOP = """
[platform]
cooldown = 0
max_attempts = 1000
blind_after = 86400  # no beat runs here: one sweep must do for all tests

[services.shop]
healthy_for = 0

  [services.shop.driver]
  type = "process"
  command = ["{python}", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
  pidfile = "shop.pid"

  [[services.shop.checks]]
  type = "tcp"
  host = "127.0.0.1"
  port = {port}
  interval = 1
"""


class Platform:
    """A worker for all queues in a folder of its own, and a client that asks it."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.log = folder / "worker.log"
        self.redis = Redis.from_url(redis_url)
        self.environment = os.environ | {"RECOVERY_REDIS_URL": redis_url, "PYTHONPATH": str(HOUSE)}
        self._database = folder / ".recovery" / "history.db"
        self._app = Celery(
            "asking",
            broker=redis_url.replace("unix://", "redis+socket://"),
            backend=f"workers.results:RecoveryBackend+sqlite:///{self._database}",
            set_as_current=False,
        )
        self._app.conf.broker_transport_options = {"global_keyprefix": "recovery:celery:"}
        self._worker: subprocess.Popen[bytes] | None = None
        (folder / "recovery.toml").write_text(SHOP.format(python=sys.executable, port=free_port()))

    def celery(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", "workers", *arguments]

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._worker = subprocess.Popen(
                self.celery("worker", "-Q", ALL_BUT_HEALTH, "-c", "2", "-l", "DEBUG"),
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread of a test runs yet when a worker starts
            )
        eventually(lambda: "ready." in self.log.read_text(), within=60, message=self.log.read_text)

    def look(self) -> None:
        """Sweep once, or the platform would be blind and leave automatic recoveries waiting."""
        self._app.send_task("health.sweep", kwargs={"interval": 1.0}, queue="maintenance", ignore_result=True)
        seen = "SELECT count(*) FROM service_states WHERE seen_at IS NOT NULL"
        eventually(lambda: self.rows(seen) == [(1,)], within=60, message=self.said)

    def stop(self) -> None:
        if self._worker is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)
            self._worker.wait()
        self.redis.close()
        pidfile = self.folder / "shop.pid"
        if pidfile.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pidfile.read_text().split()[0]), signal.SIGKILL)

    @property
    def worker(self) -> subprocess.Popen[bytes]:
        assert self._worker is not None, "the worker was not started"
        return self._worker

    def call(self, task: str, task_id: str | None = None, **kwargs: Any) -> AsyncResult:
        return self._app.send_task(task, kwargs=kwargs, task_id=task_id, queue="failures")

    def result(self, identifier: str) -> AsyncResult:
        return AsyncResult(identifier, app=self._app)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self._database, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def said(self) -> str:
        return self.log.read_text()[-4000:]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, valkey_server: ValkeyServer) -> Iterator[Platform]:
    """The tests share one worker and leave the service running."""
    with contextlib.closing(Redis.from_url(valkey_server.url)) as client:
        client.flushall()
    running = Platform(tmp_path_factory.mktemp("platform"), valkey_server.url)
    try:
        running.start()
        running.look()
        yield running
    finally:
        running.stop()


@pytest.mark.slow
def test_a_recovery_started_by_hand_answers_for_itself(platform: Platform) -> None:
    asked = platform.call("recovery.trigger", service="shop", strategy="restart").get(timeout=60)

    value = platform.result(asked["recovery_id"]).get(timeout=60)

    assert asked["intake"] == "opened"
    assert (value["service"], value["state"], value["outcome"], value["strategies"]) == ("shop", "succeeded", "resolved", ["restart"]), (
        platform.said()
    )


@pytest.mark.slow
def test_the_celery_command_line_tells_the_outcome_of_a_recovery(platform: Platform) -> None:
    asked = platform.call("recovery.trigger", service="shop", strategy="restart").get(timeout=60)

    told = subprocess.run(
        platform.celery("result", asked["recovery_id"]),
        cwd=platform.folder,
        env=platform.environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "'outcome': 'resolved'" in told.stdout


@pytest.mark.slow
def test_a_report_from_the_stream_becomes_a_recovery(platform: Platform) -> None:
    before = platform.rows("SELECT count(*) FROM recoveries")[0][0]

    platform.redis.xadd("recovery:reports", {"failure": json.dumps({"service": "shop", "category": "service_unavailable"})})

    eventually(lambda: platform.rows("SELECT count(*) FROM recoveries WHERE state = 'succeeded'")[0][0] > before, message=platform.said)
    eventually(lambda: platform.redis.xlen("recovery:reports") == 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "kwargs", "error", "said"),
    [
        ("recovery.report_failure", {"service": "shoop"}, ServiceNotFound, "did you mean 'shop'"),
        ("recovery.report_failure", {"service": "shop", "comand": "rm -rf /"}, FailureInvalid, "unknown key 'comand'"),
        ("recovery.report_failure", {}, FailureInvalid, "'service' is missing"),
        ("recovery.trigger", {"service": "shop", "strategy": "restrat"}, RecoveryError, "did you mean 'restart'"),
        ("recovery.trigger", {"servce": "shop"}, RecoveryError, "missing a required argument"),
        ("recovery.cancel", {"recovery_id": "no-such-recovery"}, RecoveryError, "no recovery has the id"),
    ],
)
def test_garbage_gets_one_sentence_and_nothing_else_happens(
    platform: Platform, task: str, kwargs: dict[str, str], error: type[Exception], said: str
) -> None:
    before = platform.rows("SELECT count(*) FROM recoveries")

    asked = platform.call(task, **kwargs)

    with pytest.raises(error, match=said):
        asked.get(timeout=60)
    assert asked.status == states.FAILURE
    assert "Traceback" not in platform.log.read_text()
    assert platform.rows("SELECT count(*) FROM recoveries") == before


@pytest.mark.slow
@pytest.mark.parametrize("entry", [b"not json", json.dumps({"service": "nobody"}).encode()])
def test_garbage_in_the_stream_is_a_row_in_the_audit_trail(platform: Platform, entry: bytes) -> None:
    before = platform.rows("SELECT count(*) FROM audit WHERE action = 'report_refused'")[0][0]

    platform.redis.xadd("recovery:reports", {"failure": entry})

    eventually(lambda: platform.redis.xlen("recovery:reports") == 0)
    assert platform.rows("SELECT count(*) FROM audit WHERE action = 'report_refused'")[0][0] == before + 1


@pytest.mark.slow
def test_a_message_that_comes_twice_opens_one_recovery(platform: Platform) -> None:
    kwargs: dict[str, Any] = {"service": "shop", "strategy": "restart", "dry_run": True}
    first = platform.call("recovery.trigger", **kwargs)
    platform.result(first.get(timeout=60)["recovery_id"]).get(timeout=60)
    before = platform.rows("SELECT count(*) FROM recoveries")

    platform.call("recovery.trigger", task_id=first.id, **kwargs)
    eventually(lambda: platform.log.read_text().count(f"recovery.trigger[{first.id}] succeeded") == 2, message=platform.said)

    assert platform.rows("SELECT count(*) FROM recoveries") == before


@pytest.mark.slow
def test_a_report_that_comes_twice_is_counted_once(platform: Platform) -> None:
    first = platform.call("recovery.report_failure", service="shop")
    recovery_id = first.get(timeout=60)["recovery_id"]
    platform.result(recovery_id).get(timeout=60)

    platform.call("recovery.report_failure", task_id=first.id, service="shop")
    eventually(lambda: platform.log.read_text().count(f"recovery.report_failure[{first.id}] succeeded") == 2, message=platform.said)

    assert platform.rows(f"SELECT failures FROM recoveries WHERE id = '{recovery_id}'") == [(1,)]


@pytest.mark.slow
def test_a_worker_without_the_embedded_valkey_ends_with_one_sentence(short_dir: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", "worker", "-Q", "restart"],
        cwd=short_dir,
        env=os.environ | {"PYTHONPATH": str(HOUSE)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ended.returncode == 1
    assert "no Valkey at" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
