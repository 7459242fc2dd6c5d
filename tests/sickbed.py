"""Patients: real services for a stage to look after, that a test can kill, freeze or make ill."""

import json
import os
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

from strategies.drivers.process import ProcessDriver, ProcessOptions
from tests.support import eventually, free_port

PROGRAM = Path(__file__).with_name("patient.py")
CHECK = "interval = 1\ntimeout = 1\nfall = 1\nrise = 1"


class Patient:
    """One instance of `patient.py` and its declaration.

    Args:
        name: of the service.
        service: TOML lines for `[services.NAME]`.
        more: TOML tables below it, such as remedies.
        check: TOML lines for its HTTP check, beside type and URL.
        boot: seconds from its start until it listens.
        stop: seconds it takes to end after SIGTERM.
    """

    def __init__(self, name: str, service: str = "", more: str = "", *, check: str = CHECK, boot: float = 0.0, stop: float = 0.0) -> None:
        self.name = name
        self.port = free_port()
        self._service, self._more, self._check = service, more, check
        self._boot, self._stop = boot, stop
        self.folder = Path()

    def settle(self, folder: Path, environ: dict[str, str]) -> None:
        """Start in `folder`, with `environ` on top of the environment, and return when it answers."""
        self.folder = folder / "run"
        self.folder.mkdir(exist_ok=True)
        self._driver = ProcessDriver(self.name, ProcessOptions(command=self.command, pidfile=self.pidfile, env=environ))
        self._driver.start()
        eventually(lambda: self.answers() == 200, message=lambda: f"{self.name} does not answer: {self._driver.explain()}")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    @property
    def command(self) -> tuple[str, ...]:
        numbers = (str(self._boot), str(self._stop))
        return (sys.executable, "-I", "-S", str(PROGRAM), str(self.port), str(self.folder), self.name, *numbers)

    @property
    def pidfile(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def pid(self) -> int:
        return int(self.pidfile.read_text())

    @property
    def starts(self) -> int:
        """How often it was started."""
        return len((self.folder / f"{self.name}.starts").read_text().splitlines())

    def declaration(self) -> str:
        """Return its part of `recovery.toml`."""
        return f"""
[services.{self.name}]
{self._service}

[services.{self.name}.driver]
type = "process"
command = {json.dumps(self.command)}
pidfile = "run/{self.name}.pid"
ports = [{self.port}]

[[services.{self.name}.checks]]
type = "http"
url = "{self.url}"
{self._check}

{self._more}
"""

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def ail(self, mode: str = "500") -> None:
        """Answer 500, or `hang`; with a `!` at the end a restart does not help."""
        draft = self.folder / f"{self.name}.draft"
        draft.write_text(mode)
        draft.replace(self.folder / f"{self.name}.mode")

    def hold(self, what: str) -> None:
        """Let its next `boot` or `stop` not end before `release`."""
        draft = self.folder / f"{self.name}.draft"
        draft.write_text(what)
        draft.replace(self.folder / f"{self.name}.hold")

    def release(self) -> None:
        (self.folder / f"{self.name}.hold").unlink(missing_ok=True)

    def heal(self) -> None:
        (self.folder / f"{self.name}.mode").unlink(missing_ok=True)
        self.release()

    def answers(self, timeout: float = 5.0) -> int:
        """Return the status it answers with, 0 if it does not."""
        try:
            with urllib.request.urlopen(self.url, timeout=timeout) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def stop(self) -> None:
        """End it, frozen or not."""
        self.release()
        if self.pidfile.exists():
            self._driver.stop(1)
