"""A running platform with patients, for acceptance tests and benchmarks: real processes in a folder of their own.

It uses SQLite and its embedded Valkey, or rooms of its own on the servers that the environment names, see `tests/servers/rooms.py`.
Every process carries a marker in its environment, so that the end of a stage can prove that nothing is left.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from celery import Celery
from kombu import Queue
from redis import Redis

from celeryconfig import QUEUES
from recovery.history import History, Story
from recovery.models import Recovery, Status
from recovery.settings import Settings
from recovery.store.connect import connect
from recovery.store.engine import dispose
from recovery.store.sql import SqlStore
from tests.servers.rooms import BROKER, POSTGRES, REDIS, own_broker, own_database, own_redis
from tests.sickbed import Patient
from tests.support import eventually, free_port

ROOT = Path(__file__).resolve().parents[1]
MARKER = "RECOVERY_TEST_STAGE"
READY = "Everything is up."
START_TIMEOUT = 90.0
STOP_TIMEOUT = 60.0
VANISH_TIMEOUT = 10.0
"""Seconds that processes which were killed may take to be gone."""
RUN_TIMEOUT = 120.0
UP = ("-c", "from workers.cli import main; main()", "up")


class Stage:
    """One platform with the patients it looks after.

    Args:
        patients: started before the platform; each becomes a service in `recovery.toml`.
        toml: the rest of `recovery.toml`, such as `[platform]`.
        up: run `recovery up`; False: leave it to the test to `start` what it wants, by hand.
        environ: on top of the environment, which loses the `RECOVERY_` variables of whoever runs this.
    """

    def __init__(self, patients: Sequence[Patient] = (), toml: str = "", *, up: bool = True, **environ: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rcv-"))
        self.patients = {patient.name: patient for patient in patients}
        self.config = self.folder / "recovery.toml"
        self.log = self.folder / "platform.log"
        self._rooms = contextlib.ExitStack()
        urls: dict[str, Any] = {
            "database_url": self._rooms.enter_context(own_database()) if POSTGRES else None,
            "redis_url": self._rooms.enter_context(own_redis()) if REDIS else None,
            "broker_url": self._rooms.enter_context(own_broker()) if BROKER else None,
        }
        self.settings = Settings(data_dir=self.folder / "data", config=self.config, **urls)
        self.marker = f"{self.folder.name}-{os.urandom(4).hex()}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECOVERY_", "FLOWER_", "CELERY_"))}
        own = {"RECOVERY_DATA_DIR": str(self.settings.home), "RECOVERY_CONFIG": str(self.config), "PYTHONPATH": str(ROOT)}
        own |= {f"RECOVERY_{name.upper()}": url for name, url in urls.items() if url}
        self.environ = kept | own | {"RECOVERY_FLOWER_PORT": str(free_port()), MARKER: self.marker} | environ
        self.toml = toml
        self._up = up
        self._processes: list[subprocess.Popen[bytes]] = []

    # --- life ---

    def __enter__(self) -> Self:
        try:
            for patient in self.patients.values():
                patient.settle(self.folder, {MARKER: self.marker})
            self.declare(self.toml)
            if self._up:
                self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.close()

    def declare(self, toml: str) -> None:
        """Write `recovery.toml`: `toml`, then the patients; in one move, as editors do."""
        text = "\n".join([toml, *(patient.declaration() for patient in self.patients.values())])
        draft = self.config.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.config)

    def open(self) -> None:
        """Run `recovery up` and return when it says that everything is, and every patient was seen healthy."""
        process = self.start(*UP)

        def ready() -> bool:
            assert process.poll() is None, f"it ended with code {process.returncode}"
            return READY in self.tail()

        eventually(ready, START_TIMEOUT, lambda: f"the platform is not up:\n{self.tail(60)}")
        self.await_healthy()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `python ARGUMENTS` in the stage's folder, its output in the log, to end with the stage."""
        with self.log.open("ab") as log:
            command = [sys.executable, *arguments]
            process = subprocess.Popen(command, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End everything and prove it: raises `AssertionError` with what did not end by itself."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT)
        for patient in self.patients.values():
            patient.stop()
        if "store" in self.__dict__:
            dispose(self.store.engine)
        if "redis" in self.__dict__:
            self.redis.close()
        if "_guest" in self.__dict__:
            self._guest.close()
        left = self._left()
        said = f"these processes did not end: {[process.cmdline() for process in left]}\n{self.tail(60)}" if left else ""
        for survivor in left:
            survivor.kill()
        psutil.wait_procs(left, 10)
        self._rooms.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not said, said

    def _left(self) -> list[psutil.Process]:
        """Return what does not end by itself."""
        with contextlib.suppress(AssertionError):
            eventually(lambda: not self.processes(), within=VANISH_TIMEOUT)
        return self.processes()

    def processes(self) -> list[psutil.Process]:
        """Return every live process that began here, even if its parents are gone."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARKER) == self.marker
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False

    def running(self, word: str) -> list[psutil.Process]:
        """Return the live processes with `word` among their arguments, or as a part of a module's name there."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):  # it has ended in this moment
                found += [process] if any(word in argument.split(".") for argument in process.cmdline()) else []
        return found

    def part(self, name: str) -> psutil.Process:
        """Return the main process of a worker (`intake`, `recover`, `health`), of `beat`, `flower` or `valkey`."""
        try:
            if name == "valkey":
                return psutil.Process(int((self.settings.home / "valkey" / "valkey.pid").read_text()))
            flag = f"{name}@%h" if name in {"intake", "recover", "health"} else name
            found = [process for process in self.processes() if flag in process.cmdline() and os.getpgid(process.pid) == process.pid]
        except (OSError, ValueError, psutil.Error) as error:  # one of them has just begun or ended
            raise AssertionError(f"{name}: {error!r}") from error
        assert len(found) == 1, f"{name}: {found}"
        return found[0]

    def tail(self, lines: int | None = None) -> str:
        """Return the log of the platform, or its last lines."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text if lines is None else "\n".join(text.splitlines()[-lines:])

    # --- asking ---

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run `python ARGUMENTS` to its end in the stage's folder; `code` is the exit code it must have, None for any."""
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=RUN_TIMEOUT, check=False)
        assert code in {None, done.returncode}, f"{arguments} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    def celery(self, *arguments: str) -> str:
        """Run `celery -A workers ARGUMENTS` and return what it prints."""
        return self.run("-m", "celery", "-A", "workers", *arguments).stdout

    def recovery(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run the console script `recovery ARGUMENTS`."""
        return self.run("-c", "from workers.cli import main; main()", *arguments, code=code)

    def send(self, task: str, *, to: str = "failures", **kwargs: Any) -> None:
        """Send a task to a queue, as a stranger with only Celery and the broker's URL would."""
        self._guest.send_task(task, kwargs=kwargs, queue=to)

    @cached_property
    def _guest(self) -> Celery:
        guest = Celery("guest", broker=self.settings.broker, set_as_current=False)
        options = {} if self.settings.broker_url else {"global_keyprefix": "recovery:celery:"}
        guest.conf.update(broker_transport_options=options, task_ignore_result=True)
        guest.conf.task_queues = [Queue(name, no_declare=True) for name in QUEUES]  # a stranger does not know how they are made
        return guest

    @cached_property
    def store(self) -> SqlStore:
        """The history's database, as the platform writes it."""
        return SqlStore.open(self.settings.database)

    @cached_property
    def redis(self) -> Redis:
        """A connection to the platform's Valkey."""
        return connect(self.settings.redis)

    @cached_property
    def history(self) -> History:
        """The platform's history."""
        return History(self.store.engine)

    # --- waiting ---

    def await_healthy(self, *services: str, within: float = 60.0) -> None:
        """Wait until these services (default: all patients) are known to be healthy and nothing is done about them."""
        wanted = services or tuple(self.patients)

        def healthy() -> bool:
            states, busy = self.store.service_states(), {recovery.service for recovery in self.store.open_recoveries()}
            return all(name in states and states[name].status is Status.HEALTHY and name not in busy for name in wanted)

        eventually(healthy, within, lambda: f"not all of {wanted} are healthy: {self.store.service_states()}\n{self.tail(30)}")

    def opened(self, service: str, since: datetime, within: float = 30.0) -> Recovery:
        """Wait for the first recovery of `service` that was opened after `since`."""
        return eventually(lambda: self._first(service, since), within, lambda: f"no recovery of {service}:\n{self.tail(30)}")

    def closed(self, service: str, since: datetime, within: float = 60.0) -> Recovery:
        """Wait for the end of the first recovery of `service` that was opened after `since`."""

        def found() -> Recovery:
            first = self._first(service, since)
            assert not first.state.is_open
            return first

        return eventually(found, within, lambda: f"{service} is not recovered:\n{self.tail(30)}")

    def story(self, recovery: Recovery) -> Story:
        """Return everything about one recovery."""
        story = self.history.story(recovery.id)
        assert story is not None
        return story

    def _first(self, service: str, since: datetime) -> Recovery:
        found = self.history.recoveries(service=service, since=since)
        assert found, f"no recovery of {service}"
        return found[-1]
