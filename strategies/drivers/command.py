"""Driver `command`: whatever already manages the service, reached through the operator's own commands."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recovery.config.base import Seconds
from recovery.config.fleet import ServiceDeclaration
from recovery.errors import DriverError
from recovery.models import JsonObject
from recovery.ports import DriverKind
from strategies.commands import Argv, CommandFailed, Completed, run
from strategies.drivers.abilities import IdentityUnknown, Verb
from strategies.environment import service_environment
from strategies.listeners import Listener, Ports
from strategies.polling import wait_until

IDENTITY_LENGTH = 500
"""Characters of the status command's output that are kept."""
STATUS_INTERVAL = 0.1
"""Seconds between two status commands while waiting."""


class CommandOptions(BaseModel):
    """`[services.X.driver]` with `type = "command"`. Every command is a list of program and arguments; no shell reads it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Argv = ()
    """Must return once the service was started."""
    stop: Argv = ()
    restart: Argv = ()
    """Used instead of `stop` and `start` where these are missing."""
    reload: Argv = ()
    status: Argv = ()
    """Exit code 0: it runs, and stdout is the identity of the instance (print pid and start time, nothing that changes)."""
    timeout: Seconds = 60.0
    """Seconds one command may take."""
    cwd: Path = Path()
    """Working directory; default: the folder of `recovery.toml`."""
    env: dict[str, str] = Field(default_factory=dict)
    repeatable: bool = False
    """True: without `status`, a command that a lost worker may have run already is run again."""
    ports: Ports = ()
    """Where the service listens: free after a stop, accepting after a start."""

    @model_validator(mode="after")
    def _needs_a_way(self) -> Self:
        if bool(self.start) != bool(self.stop):
            raise ValueError("'start' and 'stop' belong together; give both, or only 'restart'")
        if not (self.start or self.restart or self.reload):
            raise ValueError("give 'start' and 'stop', or 'restart', or 'reload'")
        return self


class CommandDriver:
    """Reach a service by commands. Identity: what the status command prints."""

    def __init__(self, service: str, options: CommandOptions) -> None:
        self._service = service
        self._options = options

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Return the declared ports."""
        return self._options.ports

    def lacks(self, verb: Verb) -> str | None:
        """Return which command is missing for `verb`."""
        options = self._options
        if verb == "reload":
            return None if options.reload else "its command driver has no 'reload' command"
        return None if options.start or options.restart else "its command driver has neither 'start' and 'stop' nor 'restart'"

    def identity(self) -> JsonObject | None:
        """Return what the status command prints, None when it says that nothing runs; raises `IdentityUnknown` without one."""
        if not self._options.status:
            raise IdentityUnknown(
                f"the command driver of '{self._service}' has no 'status' command; add one, or set repeatable = true",
                repeatable=self._options.repeatable,
            )
        done = self._run("status", self._options.status)
        if done.code != 0:
            return None
        return {"status": done.output[:IDENTITY_LENGTH].decode("utf-8", "replace").strip()}

    def stop(self, timeout: float) -> JsonObject:
        """Run the stop command unless the status command says that nothing runs; wait up to `timeout` seconds until it says so."""
        if self._options.status and self.identity() is None:
            return {"instance": None}
        self._must("stop", self._options.stop)
        if self._options.status and not wait_until(lambda: self.identity() is None, timeout, STATUS_INTERVAL):
            raise DriverError(f"'{self._service}' still runs {timeout:g} s after its stop command, says its status command")
        return {"command": list(self._options.stop)}

    def start(self) -> JsonObject:
        """Run the start command and wait until the status command sees the instance."""
        if self._options.status and self.identity() is not None:
            raise DriverError(f"'{self._service}' already runs, says its status command")
        return self._started("start", self._options.start)

    def reload(self) -> JsonObject:
        """Run the reload command."""
        self._must("reload", self._options.reload)
        return {"command": list(self._options.reload)}

    def _started(self, name: str, argv: Argv) -> JsonObject:
        self._must(name, argv)
        if not self._options.status:
            return {"command": list(argv)}
        wait_until(lambda: self.identity() is not None, self._options.timeout, STATUS_INTERVAL)
        identity = self.identity()
        if identity is None:
            raise DriverError(
                f"'{self._service}' does not run {self._options.timeout:g} s after its {name} command, says its status command"
            )
        return identity

    def _must(self, name: str, argv: Argv) -> None:
        done = self._run(name, argv)
        if done.code != 0:
            raise DriverError(f"the {name} command of '{self._service}' failed with {done.complaint()}")

    def _run(self, name: str, argv: Argv) -> Completed:
        if not argv:
            raise DriverError(f"the command driver of '{self._service}' has no '{name}' command")
        options = self._options
        try:
            return run(argv, timeout=options.timeout, cwd=options.cwd, env=service_environment(options.env))
        except CommandFailed as error:
            raise DriverError(f"the {name} command of '{self._service}': {error.message}") from error


class RestartCommandDriver(CommandDriver):
    """Reach a service that offers a restart in one go, and no separate stop and start."""

    def restart(self) -> JsonObject:
        """Run the restart command and wait until the status command sees an instance."""
        return self._started("restart", self._options.restart)


def build(service: ServiceDeclaration) -> CommandDriver:
    """Return the driver of a service whose `driver.options` were validated."""
    options = CommandOptions.model_validate(service.driver.options if service.driver else {})
    return CommandDriver(service.name, options) if options.start else RestartCommandDriver(service.name, options)


COMMAND = DriverKind(name="command", options=CommandOptions, build=build)
