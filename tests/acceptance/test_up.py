"""`up` with real processes: one platform per folder, children that come back, and nothing left behind, however it ends.

A small Celery app stands in for ours, so that these tests fail for the supervisor's reasons only.
"""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import redis

from recovery.settings import Settings
from tests.support import eventually, free_port
from workers.platform.pdeathsig import SUPPORTED

ROOT = Path(__file__).parents[2]
MARKER = "RECOVERY_TEST_MARKER"
pytestmark = pytest.mark.timeout(300)

CHILDREN = {"intake", "recover", "health", "beat", "flower"}

APP = """
import os, sys, time
from celery import Celery
from celery.signals import worker_process_init
from kombu import Queue
from recovery.settings import Settings
from workers import logs
from workers.platform.child import enlist
from workers.platform.children import INTAKE_QUEUES, STRATEGY_QUEUES
from workers.platform.flower import secure_flower
from workers.platform.pdeathsig import leash

settings = Settings()
app = Celery("standin", broker=settings.broker)
app.conf.update(
    task_queues=[Queue(name) for name in (*STRATEGY_QUEUES, *INTAKE_QUEUES, "health")],
    task_acks_late=True, task_ignore_result=True, broker_connection_retry_on_startup=True,
    beat_schedule={"tick": {"task": "maintenance.tick", "schedule": 0.5, "options": {"queue": "maintenance"}}},
)
logs.connect_celery(settings)
enlist()
WORKER = os.getpid()

@worker_process_init.connect
def tie(**_):
    leash(WORKER)

if "flower" in sys.argv:
    secure_flower(settings)

@app.task(name="maintenance.tick")
def tick():
    pass

@app.task(name="strategy.restart")
def restart(service, recovery_id, attempt):
    private = sorted({"PYTHONUNBUFFERED", "RECOVERY_READY_FILE"} & set(os.environ))
    logs.get_logger(service=service, recovery=recovery_id).info("recovery.started", env=private)
    time.sleep(attempt)
    logs.get_logger(service=service, recovery=recovery_id).info("recovery.succeeded")
"""

RUN = """
import sys
from pathlib import Path
from recovery.settings import Settings
from workers.platform.up import serve_broker, up
settings = Settings()
migrate = Path("migrated").write_text
sys.exit(serve_broker(settings) if "broker" in sys.argv else up(settings, app="standin", migrate=migrate))
"""


class Platform:
    """One `up` in a process of its own; every process below it carries its marker in the environment."""

    def __init__(self, folder: Path, *arguments: str, **environ: str) -> None:
        self.folder = folder
        self.home = folder / "data"
        self.marker = f"{folder.name}-{os.urandom(4).hex()}"
        self.lines: list[str] = []
        (folder / "standin.py").write_text(APP)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RECOVERY_", "FLOWER_"))}
        clean |= {"RECOVERY_DATA_DIR": str(self.home), "RECOVERY_FLOWER_PORT": str(free_port()), "PYTHONPATH": f"{folder}:{ROOT}"}
        clean |= {MARKER: self.marker, "APP": "production", "PYTHONWARNINGS": "default"} | environ
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            cwd=folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def says(self, *parts: str, after: int = 0) -> str:
        """Wait for a line that holds all `parts` and return it."""
        return eventually(lambda: self.find(*parts, after=after), within=90, message=lambda: f"{parts} not in:\n" + "\n".join(self.lines))

    def find(self, *parts: str, after: int = 0) -> str:
        return next((line for line in self.lines[after:] if all(part in line for part in parts)), "")

    def processes(self) -> dict[int, psutil.Process]:
        """Return every live process that descends from this platform, even if its parents are gone."""
        return {process.pid: process for process in psutil.process_iter() if self._is_ours(process)}

    def main_of(self, name: str) -> psutil.Process:
        """Return the main process of one child."""
        flag = f"{name}@%h" if name in {"intake", "recover", "health"} else name

        def found() -> psutil.Process:
            try:
                (process,) = [each for each in self.processes().values() if flag in each.cmdline() and each.pid == os.getpgid(each.pid)]
            except (ValueError, OSError, psutil.Error) as error:  # one of them has just begun or ended
                raise AssertionError(f"{name}: {error!r}") from error
            return process

        return eventually(found)

    def ended(self, within: float = 90) -> int:
        """Wait for its end, and for the last line that it wrote."""
        code = self.process.wait(within)
        self._reader.join(30)
        return code

    def vanishes(self) -> bool:
        """Wait until no process is left; what was killed takes a moment to be gone."""
        return eventually(lambda: not self.processes(), message=lambda: str(self.processes()))

    def clear(self) -> None:
        """End everything, for a test that failed half way."""
        for process in self.processes().values():
            process.kill()
        self.process.wait(10)
        self._reader.join(10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == self.marker
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))


Starter = Callable[..., Platform]


@pytest.fixture
def start(short_dir: Path) -> Iterator[Starter]:
    started: list[Platform] = []

    def begin(*arguments: str, **environ: str) -> Platform:
        started.append(Platform(short_dir, *arguments, **environ))
        return started[-1]

    yield begin
    for platform in started:
        platform.clear()


def send(platform: Platform, seconds: float) -> None:
    """Send one strategy task as a client would."""
    code = f"import standin; standin.restart.apply_async(('shop', '8f3a12c4', {seconds}), queue='restart')"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=platform.folder,
        env=os.environ | {"RECOVERY_DATA_DIR": str(platform.home), "PYTHONPATH": f"{platform.folder}:{ROOT}"},
        check=True,
    )


@pytest.mark.slow
def test_up_runs_everything_once_and_ends_without_a_trace(start: Starter) -> None:
    platform = start()
    platform.says("Everything is up")
    assert (platform.folder / "migrated").read_text() == f"sqlite:///{platform.home}/history.db"
    assert {platform.main_of(name).pid for name in CHILDREN} <= set(platform.processes())

    second = start()
    assert second.ended() == 1
    assert second.lines == [f"The platform is already running on {platform.home} (process {platform.process.pid})."]

    send(platform, 0)
    line = platform.says("recovery.started")
    assert line.startswith("recover | ")
    assert line.endswith("service=shop recovery=8f3a12c4 env=[]")
    assert not platform.find("maintenance.tick"), "the log is for operators"

    platform.process.send_signal(signal.SIGTERM)

    assert platform.ended() == 0
    assert platform.vanishes()
    assert platform.find("platform.stopped")


@pytest.mark.slow
def test_children_that_are_killed_come_back(start: Starter) -> None:
    platform = start()
    platform.says("Everything is up")
    recover, beat = platform.main_of("recover"), platform.main_of("beat")
    pool = recover.children()
    server = int((platform.home / "valkey" / "valkey.pid").read_text())
    seen = len(platform.lines)

    recover.kill()
    beat.kill()
    os.kill(server, signal.SIGKILL)

    for name in ("recover", "beat"):
        platform.says("platform.died", f"part={name}", "killed by SIGKILL", after=seen)
        platform.says("platform.started", f"part={name}", after=seen)
    platform.says("platform.started", "part=valkey", after=seen)
    platform.says("recover@", "ready", after=seen)
    assert {process.pid for process in pool}.isdisjoint(platform.processes()), "no pool process outlives its worker"
    send(platform, 0)
    platform.says("recovery.succeeded", after=seen)


@pytest.mark.slow
@pytest.mark.skipif(not SUPPORTED, reason="only Linux can tie a process to its parent")
def test_killing_the_supervisor_leaves_nothing_and_the_next_up_has_the_data(start: Starter) -> None:
    platform = start()
    platform.says("Everything is up")
    send(platform, 60)
    platform.says("recovery.started")
    client = redis.Redis.from_url(Settings(data_dir=platform.home).redis, decode_responses=True)
    client.set("recovery:test", "kept")
    assert len(platform.processes()) >= len(CHILDREN) + 4

    platform.process.kill()

    assert platform.vanishes()
    again = start()
    again.says("Everything is up")
    assert client.get("recovery:test") == "kept"


@pytest.mark.slow
def test_a_task_at_work_is_finished_at_the_first_ctrl_c_and_killed_at_the_second(start: Starter) -> None:
    platform = start()
    platform.says("Everything is up")
    send(platform, 2)
    platform.says("recovery.started")
    platform.process.send_signal(signal.SIGINT)
    assert platform.ended() == 0
    assert platform.find("recovery.succeeded")

    again = start()
    again.says("Everything is up")
    send(again, 60)
    again.says("recovery.started")
    again.process.send_signal(signal.SIGINT)
    again.says("platform.stopping")
    again.process.send_signal(signal.SIGINT)

    assert again.ended() == 0
    assert again.find("platform.killed", "part=recover")
    assert again.vanishes()


@pytest.mark.slow
def test_flower_is_local_and_asks_for_its_password_everywhere_but_on_its_health_page(start: Starter) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        platform = start(RECOVERY_FLOWER_PORT=str(taken))
        platform.says("Everything is up")
    line = platform.find("Flower  http")
    address = line.split()[3]
    assert address.startswith("http://127.0.0.1:")
    assert not address.endswith(f":{taken}")
    secret = (platform.home / "flower-password").read_text().strip()
    assert secret not in "\n".join(platform.lines)
    listening = [connection.laddr.ip for connection in platform.main_of("flower").net_connections("tcp") if connection.status == "LISTEN"]
    assert listening == ["127.0.0.1"]

    def ask(path: str, password: str | None = None) -> tuple[int, str]:
        request = urllib.request.Request(address + path)
        if password is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{password}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status), answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, ""

    def status(path: str, password: str | None = None) -> int:
        return ask(path, password)[0]

    for path in ("/", "/workers", "/tasks", "/broker", "/metrics", "/api/workers", "/api/tasks"):
        assert status(path) == 401, path
        assert status(path, "wrong") == 401, path
    assert status("/healthcheck") == 200
    assert status("/metrics", secret) == 200
    assert status("/tasks", secret) == 200

    send(platform, 0)
    table = "/tasks/datatable?draw=1&start=0&length=10&order[0][column]=0&order[0][dir]=asc&columns[0][data]=name&search[value]=shop"
    eventually(lambda: "service=shop strategy=restart recovery=8f3a12c4 attempt=0" in ask(table, secret)[1])


@pytest.mark.slow
def test_json_logs_are_json_from_the_first_line_to_the_last(start: Starter) -> None:
    platform = start(RECOVERY_LOG_FORMAT="json")
    platform.says("Everything is up")
    platform.process.send_signal(signal.SIGTERM)
    platform.ended()

    records = [json.loads(line) for line in platform.lines]
    assert {record["node"] for record in records} >= {"up", "recover", "intake", "health", "beat"}


def test_a_broker_by_hand_is_refused_beside_up_and_ends_on_sigterm(start: Starter) -> None:
    broker = start("broker")
    broker.says("The broker is ready")
    assert redis.Redis.from_url(Settings(data_dir=broker.home).redis).ping()

    second = start("broker")
    assert second.ended() == 1
    assert "already running" in second.lines[0]

    broker.process.send_signal(signal.SIGTERM)
    assert broker.ended() == 0
    assert broker.vanishes()


def test_there_is_no_embedded_broker_to_run_when_another_is_configured(start: Starter) -> None:
    broker = start("broker", RECOVERY_REDIS_URL="redis://:secret@cache:6379/0")

    assert broker.ended() == 1
    assert broker.lines == ["RECOVERY_REDIS_URL is set to redis://:***@cache:6379/0: there is no embedded broker to run."]
