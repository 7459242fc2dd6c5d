"""Real workers on a real Valkey: what the broker does to them, and what they do about it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from tests.support import ValkeyServer, die_with_parent, eventually

HOUSE = Path(__file__).resolve().parents[2]

NAPPER = """
import time
from pathlib import Path

from celery import Celery

from workers import resilience
from workers.locate import beside

app = Celery("napper", task_cls="workers.task:RecoveryTask")
app.config_from_object(beside("celeryconfig"))
app.conf.update(task_routes={}, result_backend=None)
app.conf.broker_transport_options = app.conf.broker_transport_options | {OPTIONS}
resilience.guard_closed_channels()
app.steps["consumer"].add("workers.resilience:VisibilityHeartbeat")


def note(diary, line):
    with Path(diary).open("a") as book:
        print(line, file=book)


@app.task(name="nap")
def nap(diary, name, seconds):
    note(diary, f"{name} starts")
    time.sleep(seconds)
    note(diary, f"{name} ends")


@app.task(name="oaf", soft_time_limit=0)
def oaf(diary):
    note(diary, "oaf starts")
    while True:
        try:
            time.sleep(60)
        except BaseException as error:
            note(diary, f"oaf goes on after {error!r}")


@app.task(name="glutton")
def glutton(diary):
    note(diary, "glutton starts")
    raise MemoryError


@app.task(name="suicide")
def suicide(diary):
    import os
    import signal

    note(diary, "suicide starts")
    os.kill(os.getpid(), signal.SIGKILL)
"""


class Napping:
    """A worker whose tasks write into a diary, and a client for it."""

    def __init__(self, folder: Path, broker: str, options: dict[str, object]) -> None:
        self.diary = folder / "diary"
        self.diary.touch()
        self.log = folder / "worker.log"
        (folder / "napper.py").write_text(NAPPER.replace("{OPTIONS}", repr(options)))
        self._folder = folder
        self._broker = broker
        self._app = Celery("sender", broker=broker.replace("unix://", "redis+socket://"), set_as_current=False)
        self._app.conf.broker_transport_options = {"global_keyprefix": "recovery:celery:"}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "celery", "-A", "napper", "worker", "-c", "1", "-Q", "maintenance", "-l", "INFO"]
        environment = os.environ | {"RECOVERY_REDIS_URL": self._broker, "PYTHONPATH": f"{self._folder}:{HOUSE}"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread of a test runs yet when a worker starts
            )
        eventually(lambda: "ready." in self.log.read_text(), within=60, message=self.log.read_text)

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def send(self, task: str, *args: object, **options: object) -> None:
        self._app.send_task(task, args=(str(self.diary), *args), queue="maintenance", ignore_result=True, **options)

    def wait_for(self, line: str, within: float = 60.0) -> None:
        eventually(lambda: line in self.lines(), within=within, message=lambda: f"{self.lines()}\n{self.log.read_text()[-3000:]}")

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines()

    @property
    def alive(self) -> bool:
        assert self._process is not None
        return self._process.poll() is None


@pytest.fixture
def server(short_dir: Path) -> Iterator[ValkeyServer]:
    """A Valkey that a test may break."""
    valkey = ValkeyServer(short_dir)
    valkey.start()
    yield valkey
    valkey.kill()


@contextlib.contextmanager
def napping(folder: Path, broker: str, **options: object) -> Iterator[Napping]:
    worker = Napping(folder, broker, options)
    try:
        worker.start()
        yield worker
    finally:
        worker.stop()


@pytest.mark.slow
def test_a_worker_survives_the_restart_of_its_broker_under_a_running_task(tmp_path: Path, server: ValkeyServer) -> None:
    with napping(tmp_path, server.url) as worker:
        worker.send("nap", "first", 3)
        worker.wait_for("first starts")

        server.kill()
        eventually(lambda: "Trying again" in worker.log.read_text(), message=worker.log.read_text)
        server.start()
        worker.send("nap", "second", 0)

        worker.wait_for("second ends")
        assert worker.alive
        assert worker.lines().count("first starts") == worker.lines().count("first ends") == 1


@pytest.mark.slow
def test_a_task_longer_than_the_visibility_timeout_runs_once(tmp_path: Path, server: ValkeyServer) -> None:
    with napping(tmp_path, server.url, visibility_timeout=3, unacked_restore_interval=1) as worker:
        worker.send("nap", "long", 8)
        worker.send("nap", "waiting", 0)

        worker.wait_for("waiting ends")

        assert worker.lines() == ["long starts", "long ends", "waiting starts", "waiting ends"]


@pytest.mark.slow
def test_the_hard_limit_of_a_message_ends_a_process_that_nothing_else_ends(tmp_path: Path, server: ValkeyServer) -> None:
    with napping(tmp_path, server.url) as worker:
        worker.send("oaf", time_limit=2)
        worker.wait_for("oaf starts")
        worker.send("nap", "after", 0)

        worker.wait_for("after ends", within=60)

        assert worker.alive
        assert worker.lines().count("oaf starts") == 1, "it is not sent again"
        assert "SoftTimeLimitExceeded" not in worker.diary.read_text(), "the soft limit is the engine's"


@pytest.mark.slow
def test_a_task_that_runs_out_of_memory_does_not_take_its_worker_down(tmp_path: Path, server: ValkeyServer) -> None:
    with napping(tmp_path, server.url) as worker:
        worker.send("glutton")
        worker.send("nap", "after", 0)

        worker.wait_for("after ends")

        assert worker.alive
        assert worker.lines().count("glutton starts") == 1
        assert "glutton ran out of memory" in worker.log.read_text()


@pytest.mark.slow
def test_a_task_that_kills_its_process_is_sent_again_twice_and_no_more(tmp_path: Path, server: ValkeyServer) -> None:
    with napping(tmp_path, server.url) as worker:
        worker.send("suicide")
        eventually(lambda: worker.lines().count("suicide starts") == 3, within=60, message=worker.log.read_text)
        eventually(lambda: "WorkerLostError" in worker.log.read_text().rpartition("retry:")[2], message=worker.log.read_text)

        worker.send("nap", "after", 0)
        worker.wait_for("after ends")

        assert worker.lines().count("suicide starts") == 3
