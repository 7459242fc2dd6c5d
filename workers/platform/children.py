"""The Celery processes that `up` runs: their command lines, their environment, and each one as a child with a process group.

The workers are split so that a flood on one kind of work starves no other: remedies, intake and health have a pool each.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from recovery.settings import Settings
from workers.platform.child import READY_FILE
from workers.platform.pdeathsig import leashed

MISREAD = ("APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "NO_COLOR", "RESULT_BACKEND", "SKIP_CHECKS")
"""Common variables that the celery command would take for its own options; `APP=production` makes it look for such a module."""

CELERY = "workers.platform.celery"
"""Named, not imported: the supervisor needs nothing of Celery."""

STRATEGY_QUEUES = ("restart", "cache_rebuild", "degrade", "backup_fallback", "circuit_reset")
INTAKE_QUEUES = ("failures", "alerts", "maintenance")

REMEDIES_AT_REST, REMEDIES = 2, 3
"""Processes for remedies: the worker keeps the first, and adds up to the second (`recovery up --remedies`) while they are all busy,
so that two slow remedies of one queue do not hold up another's. All three and their parent take less than 400 MB."""

INTAKE_AHEAD = 8
"""Messages per process that the intake takes on before the first is done: so many reports are written together at least. Nothing it
does takes long, so nothing waits long behind another; where remedies run, one waits for its turn in the queue."""

KILL_TIMEOUT = 5.0
"""Seconds in which the kernel must have ended a killed process group."""


@dataclass(frozen=True)
class Command:
    """One child of `up`."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Callable[[int], bool]
    """Says of the process with this id whether it does its work."""


def commands(settings: Settings, app: str, flower_address: tuple[str, int], remedies: int = REMEDIES) -> list[Command]:
    """Return the Celery children in the order of their start: who consumes comes before who sends.

    Args:
        settings: passed on to the children through their environment.
        app: the module for `celery -A`.
        flower_address: where Flower listens.
        remedies: processes for them at most, from 1.
    """
    environment = _environment(settings)
    run = settings.home / "run"

    def part(name: str, *argv: str, ready: Callable[[int], bool] | None = None, **extra: str) -> Command:
        ready_file = run / f"{name}.ready"
        return Command(
            name=name,
            argv=(sys.executable, "-m", *argv),
            environment={**environment, READY_FILE: str(ready_file), **extra},
            ready=ready or (lambda pid: _wrote(ready_file, pid)),
        )

    def worker(name: str, queues: tuple[str, ...], pool: str, size: int, most: int | None = None, ahead: int = 1) -> Command:
        grows = ("--autoscale", f"{most},{size}") if most else ()
        node = ("worker", "-n", f"{name}@%h", "-Q", ",".join(queues), "-P", pool, "-c", str(size), *grows)
        return part(name, CELERY, app, *node, "-E", "--prefetch-multiplier", str(ahead), "--without-gossip", "--without-mingle")

    host, port = flower_address
    holder = f"{socket.gethostname()}:{settings.home}"
    flower = ("celery", "-A", app, "--quiet", "flower")
    return [
        worker("intake", INTAKE_QUEUES, "prefork", 2, ahead=INTAKE_AHEAD),
        worker("recover", STRATEGY_QUEUES, "prefork", min(REMEDIES_AT_REST, remedies), remedies),
        worker("health", ("health",), "threads", 8),
        part("beat", CELERY, app, "beat", "--schedule", str(run / "beat-schedule"), RECOVERY_BEAT_HOLDER=holder),
        part("flower", *flower, ready=lambda _: _listens(host, port), FLOWER_ADDRESS=host, FLOWER_PORT=str(port)),
    ]


class Child:
    """A process group that runs one command; its output is the non-blocking pipe `output`.

    Args:
        command: what to run.
    """

    def __init__(self, command: Command) -> None:
        self.name = command.name
        self.output: int | None = None
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the id of the process and of its group, None before the first start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the command; call it from the main thread only, because the child's life hangs on the starting thread."""
        self.output, writer = os.pipe()
        os.set_blocking(self.output, False)
        try:
            self._process = subprocess.Popen(
                leashed(self._command.argv),
                env=self._command.environment,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the supervisor alone, and the group can be ended as one
            )
        finally:
            os.close(writer)

    def alive(self) -> bool:
        """Say whether the process itself still runs."""
        return self._process is not None and self._process.poll() is None

    def ready(self) -> bool:
        """Say whether the process does its work."""
        return self._process is not None and self.alive() and self._command.ready(self._process.pid)

    def ending(self) -> str:
        """Say how the process ended."""
        code = self._process.poll() if self._process else None
        if code is None:
            return "running"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def ask_to_stop(self) -> bool:
        """Send SIGTERM: workers finish what they are doing. Say that the process will end by itself."""
        if self.alive() and self._process is not None:
            self._process.terminate()
        return True

    def end(self) -> None:
        """Kill what is left of the process group and return when nothing is.

        Raises:
            TimeoutError: the kernel holds a process that does not even end after SIGKILL.
        """
        if self._process is None:
            return
        deadline = time.monotonic() + KILL_TIMEOUT
        while members := list(_members(self._process.pid)):
            for member in members:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.kill()
            self._process.poll()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: processes {[member.pid for member in members]} do not end after SIGKILL")
            time.sleep(0.01)
        self._process.wait()


def _members(group: int) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue


def _environment(settings: Settings) -> dict[str, str]:
    """Return our environment without what celery would misread, with the settings as they are in this process."""
    said = {
        "RECOVERY_DATA_DIR": str(settings.home),
        "RECOVERY_CONFIG": os.path.abspath(settings.config),
        "RECOVERY_LOG_FORMAT": settings.log_format,
        "RECOVERY_LOG_LEVEL": settings.log_level,
        "RECOVERY_REDIS_URL": settings.redis_url,
        "RECOVERY_DATABASE_URL": settings.database_url,
        "RECOVERY_BROKER_URL": settings.broker_url,
        "PYTHONUNBUFFERED": "1",  # a line is seen when it is written, not when a buffer is full
    }
    kept = {name: value for name, value in os.environ.items() if name not in MISREAD}
    return kept | {name: value for name, value in said.items() if value is not None}


def _wrote(ready_file: Path, pid: int) -> bool:
    try:
        return ready_file.read_text(encoding="ascii") == str(pid)
    except FileNotFoundError:
        return False


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=0.5):
            return True
    except OSError:
        return False
