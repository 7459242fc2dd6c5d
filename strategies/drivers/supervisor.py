"""Driver `supervisor`: a program that supervisord runs, reached through supervisord's own XML-RPC interface."""

import signal
from pathlib import Path
from typing import Annotated, Literal, Self
from xmlrpc.client import Fault

import psutil
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from recovery.config.base import Seconds
from recovery.config.fleet import ServiceDeclaration
from recovery.errors import DriverError, listing, nearest
from recovery.models import JsonObject
from recovery.ports import DriverKind
from strategies.drivers import tree
from strategies.drivers.process import SignalName
from strategies.drivers.supervisord import ALREADY_STARTED, NOT_RUNNING, ProcessInfo, Supervisord
from strategies.listeners import Listener, Ports
from strategies.polling import wait_until
from strategies.spelling import HttpAddress

INTERVAL = 0.05
"""Seconds between two looks at supervisord."""
FORCE_PATIENCE = 5.0
"""Seconds that supervisord may take to notice that a killed process is gone."""
TAIL = 1_000
"""Bytes of a log that a message quotes at most."""


class SupervisorOptions(BaseModel):
    """`[services.X.driver]` with `type = "supervisor"`. Give `socket` or `url`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: Annotated[str, StringConstraints(min_length=1)]
    """`name`, `group:name`, or `group:*` for all of a group."""
    socket: Path | None = None
    """The file of `[unix_http_server]`."""
    url: HttpAddress | None = None
    """The address of `[inet_http_server]`, such as `http://127.0.0.1:9001`."""
    username: str = ""
    password: str = Field(default="", repr=False)
    timeout: Seconds = 10.0
    """Seconds supervisord may take to answer one call."""
    reload_signal: SignalName = signal.SIGHUP
    ports: Ports = ()
    """Where the service listens: free after a stop, accepting after a start."""

    @model_validator(mode="after")
    def _one_address(self) -> Self:
        if (self.socket is None) == (self.url is None):
            raise ValueError("give either 'socket' or 'url'")
        return self


class SupervisorDriver:
    """Reach one program, or all of a group. Identity: pid and start time of every running member."""

    def __init__(self, service: str, options: SupervisorOptions) -> None:
        self._service = service
        self._options = options
        self._remote = Supervisord(options.socket, options.url, options.username, options.password, options.timeout)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return the declared ports."""
        return self._options.ports

    def identity(self) -> JsonObject | None:
        """Return pid and start time of the running members, None when none runs."""
        running = self._running()
        return {"members": {info.full_name: [info.pid, info.start] for info in running}} if running else None

    def stop(self, timeout: float) -> JsonObject:
        """Have supervisord stop it; kill what still runs after `timeout` seconds. A frozen local process is killed at once."""
        before = self._running()
        self._tell("stop", NOT_RUNNING)
        frozen = [info for info in before if self._is_frozen(info.pid)]
        self._kill(frozen)
        forced = bool(frozen) or not wait_until(lambda: not self._running(), timeout, INTERVAL)
        self._kill(self._running())
        if not wait_until(lambda: not self._running(), FORCE_PATIENCE, INTERVAL):
            raise DriverError(f"supervisord could not stop '{self._options.program}': {self._state()}")
        return {"members": [info.full_name for info in before], "forced": forced}

    def start(self) -> JsonObject:
        """Have supervisord start it and return its identity; raises `DriverError` if all of it runs already, or none of it comes up."""
        members = self._members()
        if all(info.is_running for info in members):
            raise DriverError(f"'{self._options.program}' runs already, says supervisord")
        self._tell("start", ALREADY_STARTED)
        identity = self.identity()
        if identity is None:
            raise DriverError(f"supervisord could not start '{self._options.program}': {self._state()}{self.explain()}")
        return identity

    def reload(self) -> JsonObject:
        """Have supervisord send the reload signal to every running member."""
        running = self._running()
        if not running:
            raise DriverError(f"'{self._options.program}' does not run, so it cannot reload")
        for info in running:
            self._remote.signal(info.full_name, self._options.reload_signal)
        return {"signal": self._options.reload_signal.name, "members": [info.full_name for info in running]}

    def explain(self) -> str:
        """Return what supervisord says about a failed start, and the end of the program's logs."""
        words = [
            part for info in self._members() if not info.is_running for part in (info.problem, self._remote.tail(info.full_name, TAIL))
        ]
        return " ".join(word for word in words if word)

    def _members(self) -> list[ProcessInfo]:
        """Return the processes that the option `program` names; raises `DriverError` with the nearest name if there are none."""
        known = self._remote.processes()
        wanted = self._options.program
        group = wanted.removesuffix(":*")
        found = [info for info in known if wanted in {info.full_name, f"{info.group}:*"}]
        found = found or [info for info in known if info.name == info.group == wanted] or [info for info in known if info.group == group]
        if not found:
            names = [info.full_name for info in known]
            raise DriverError(f"supervisord knows no program '{wanted}'{nearest(wanted, names)} (known: {listing(names)})")
        return found

    def _running(self) -> list[ProcessInfo]:
        return [info for info in self._members() if info.is_running]

    def _tell(self, verb: Literal["start", "stop"], harmless: int) -> None:
        """Start or stop all members in one call, so that no crash of ours leaves half of it; `harmless`: the fault for "done already"."""
        members = self._members()
        whole_group = len(members) > 1
        name = f"{members[0].group}:*" if whole_group else members[0].full_name
        try:
            self._remote.call(f"{verb}Process", name, False)  # noqa: FBT003 - positional in XML-RPC: do not wait
        except Fault as fault:
            if fault.faultCode != harmless:
                raise DriverError(f"supervisord could not {verb} '{name}': {fault.faultString}{self.explain()}") from fault

    def _kill(self, infos: list[ProcessInfo]) -> None:
        for info in infos:
            self._remote.signal(info.full_name, signal.SIGKILL)

    def _is_frozen(self, pid: int) -> bool:
        """Say whether a process is stopped by a signal; only a supervisord on this machine can be asked about that."""
        if self._options.socket is None:
            return False
        try:
            return tree.is_helpless(psutil.Process(pid))
        except psutil.NoSuchProcess:
            return False

    def _state(self) -> str:
        return ", ".join(f"{info.full_name} is {info.state_name}" for info in self._members())


def build(service: ServiceDeclaration) -> SupervisorDriver:
    """Return the driver of a service whose `driver.options` were validated."""
    return SupervisorDriver(service.name, SupervisorOptions.model_validate(service.driver.options if service.driver else {}))


SUPERVISOR = DriverKind(name="supervisor", options=SupervisorOptions, build=build)
