"""Driver `process`: one program of this machine, known by its pidfile, started detached by us or by anybody else."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import psutil
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from recovery.config.fleet import ServiceDeclaration
from recovery.config.programs import Program
from recovery.errors import DriverError, nearest
from recovery.models import JsonObject
from recovery.ports import DriverKind
from strategies.drivers import launch, tree
from strategies.environment import service_environment
from strategies.listeners import Listener, Ports
from strategies.polling import wait_until

MARKER = "RECOVERY_PIDFILE"
"""Set in the environment of what we start; the children inherit it."""
FIRST_BREATH = 0.05
"""Seconds after a start in which an exit is reported as a failed start."""
LAUNCH_TIMEOUT = 10.0
CLOCK_SLACK = 1.0
"""Seconds that a process may seem younger than the pidfile that names it."""
TAIL = 2_000
"""Characters of the log that a message quotes at most."""


def _signal(value: object) -> object:
    if not isinstance(value, str):
        return value
    name = value.upper() if value.upper().startswith("SIG") else f"SIG{value.upper()}"
    if name not in signal.Signals.__members__:
        msg = f"unknown signal '{value}'{nearest(name, signal.Signals.__members__)}"
        raise ValueError(msg)
    return signal.Signals[name]


SignalName = Annotated[signal.Signals, BeforeValidator(_signal)]
"""Like `SIGTERM` or `TERM`."""


class ProcessOptions(BaseModel):
    """`[services.X.driver]` with `type = "process"`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[tuple[str, ...], Program()] = Field(min_length=1)
    """Program and arguments; no shell reads them. It must stay in the foreground."""
    pidfile: Path
    cwd: Path = Path()
    """Working directory; default: the folder of `recovery.toml`."""
    env: dict[str, str] = Field(default_factory=dict)
    """On top of the worker's environment."""
    user: str = ""
    """Run as this user (the worker must be root); default: the worker's own user."""
    log: Path | None = None
    """Where stdout and stderr are appended; default: the pidfile's name with `.log`. Not rotated."""
    stop_signal: SignalName = signal.SIGTERM
    reload_signal: SignalName = signal.SIGHUP
    ports: Ports = ()
    """Where it listens: free after a stop, accepting after a start."""


class _Instance(NamedTuple):
    pid: int
    process: psutil.Process
    created: float


class ProcessDriver:
    """Reach one program through its pidfile. Identity: `pid` and `created` (start time, epoch seconds)."""

    def __init__(self, service: str, options: ProcessOptions) -> None:
        self._service = service
        self._options = options
        self._pidfile = options.pidfile.absolute()
        self._log = (options.log or options.pidfile.with_suffix(".log")).absolute()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return the declared ports."""
        return self._options.ports

    def identity(self) -> JsonObject | None:
        """Return pid and start time of the running program, None when it does not run."""
        found = self._find()
        return {"pid": found.pid, "created": found.created} if found else None

    def stop(self, timeout: float) -> JsonObject:
        """Send the stop signal to the program and wait; kill what is left of it and its children after `timeout` seconds.

        A frozen program is killed at once. Children whose parent died are found by their session and killed, too.
        """
        found = self._find()
        members = self._members(found)
        if found is None:
            return {"instance": None, "killed": tree.kill(members.values())}
        forced = tree.is_helpless(found.process)
        if not forced:
            tree.send(found.process, self._options.stop_signal)
            forced = not tree.wait_gone([found.process], timeout)
            if not forced:
                tree.wait_gone(members.values(), min(timeout, tree.ORPHAN_GRACE))
        killed = 0
        while alive := {pid: process for pid, process in (members | self._members(found)).items() if not tree.is_gone(process)}:
            killed += tree.kill(alive.values())
        return {"instance": {"pid": found.pid, "created": found.created}, "forced": forced, "killed": killed}

    def start(self) -> JsonObject:
        """Start the program in a session of its own and return its identity.

        Raises `DriverError` if one runs, if it cannot be executed, and with the end of its log if it exits at once.
        """
        if running := self._find():
            raise DriverError(f"'{self._service}' already runs as pid {running.pid}")
        expected = self._pidfile_text()
        written = self._prepare_files()
        trouble = self._launch(expected)
        if trouble:
            raise DriverError(f"cannot start '{self._service}': {trouble}")
        wait_until(lambda: self._find() is None, FIRST_BREATH)
        identity = self.identity()
        if identity is None:
            raise DriverError(f"'{self._service}' exited right after its start: {self._tail(written) or 'it wrote nothing'}")
        return identity

    def reload(self) -> JsonObject:
        """Send the reload signal; raises `DriverError` if nothing runs, or if the signal would end the program."""
        found = self._find()
        number = self._options.reload_signal
        if found is None:
            raise DriverError(f"'{self._service}' does not run, so it cannot reload")
        if tree.is_helpless(found.process):
            raise DriverError(f"'{self._service}' (pid {found.pid}) is frozen, so it cannot reload")
        if not tree.catches(found.process, number):
            raise DriverError(f"'{self._service}' (pid {found.pid}) does not handle {number.name}; it would die of it, not reload")
        tree.send(found.process, number)
        return {"signal": number.name, "pid": found.pid}

    def explain(self) -> str:
        """Return the end of the log."""
        return self._tail(0)

    def _find(self) -> _Instance | None:
        """Return the running program, unless its pid was given to somebody else since the pidfile was written."""
        text = self._pidfile_text()
        if not text.isdigit() or int(text) <= 0:
            return None
        try:
            named_at = self._pidfile.stat().st_mtime
            process = psutil.Process(int(text))
            created = round(process.create_time(), 2)
        except (psutil.NoSuchProcess, FileNotFoundError, OverflowError):
            return None
        reused = created > named_at + CLOCK_SLACK and not tree.marked(process, MARKER, str(self._pidfile))
        return None if reused or tree.is_gone(process) else _Instance(int(text), process, created)

    def _members(self, found: _Instance | None) -> tree.Members:
        """Return the program with its children, and those it left behind in its session."""
        text = str(found.pid) if found else self._pidfile_text()
        left = tree.session_members(int(text)) if text.isdigit() else {}
        own = {pid: process for pid, process in left.items() if tree.marked(process, MARKER, str(self._pidfile))}
        return own | ({found.pid: found.process} | tree.descendants(found.process) if found else {})

    def _pidfile_text(self) -> str:
        try:
            return self._pidfile.read_text("ascii", "replace").strip()
        except FileNotFoundError:
            return ""
        except OSError as error:
            raise DriverError(f"cannot read the pidfile {self._pidfile}: {error.strerror}") from error

    def _prepare_files(self) -> int:
        """Make the folders and return the size of the log so far."""
        try:
            for folder in (self._pidfile.parent, self._log.parent):
                folder.mkdir(parents=True, exist_ok=True)
            return self._log.stat().st_size if self._log.exists() else 0
        except OSError as error:
            raise DriverError(f"cannot start '{self._service}': cannot make the folder {error.filename}: {error.strerror}") from error

    def _launch(self, expected: str) -> str:
        """Run the launcher; return what went wrong, empty if nothing did."""
        options = self._options
        arguments = (str(self._pidfile), expected, str(self._log), str(options.cwd.absolute()), options.user, *options.command)
        launcher = (sys.executable, "-I", "-S", launch.__file__)
        environment = service_environment({**options.env, MARKER: str(self._pidfile)})
        try:
            done = subprocess.run(
                (*launcher, *arguments),
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LAUNCH_TIMEOUT,
                start_new_session=True,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return "" if done.returncode == 0 else done.stdout or done.stderr.strip().splitlines()[-1]

    def _tail(self, since: int) -> str:
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, 2)
                file.seek(max(since, size - TAIL))
                return file.read(TAIL).decode("utf-8", "replace").strip()
        except OSError:
            return ""


def build(service: ServiceDeclaration) -> ProcessDriver:
    """Return the driver of a service whose `driver.options` were validated."""
    options = service.driver.options if service.driver else {}
    return ProcessDriver(service.name, ProcessOptions.model_validate(options))


def usable() -> str | None:
    """Return why processes cannot be driven here."""
    return None if hasattr(signal, "SIGKILL") else "the process driver needs a POSIX system"


PROCESS = DriverKind(name="process", options=ProcessOptions, build=build, usable=usable)
