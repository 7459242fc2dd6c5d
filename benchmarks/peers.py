"""Other ways to keep the same service alive, each as a real process beside the platform."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.sickbed import Patient
from tests.support import eventually

SUPERVISORD = """
[supervisord]
nodaemon = true
logfile = {folder}/supervisord.log
pidfile = {folder}/supervisord.pid

[program:{name}]
command = {command}
autorestart = true
stdout_logfile = /dev/null
stderr_logfile = /dev/null
"""


class Guarded(Patient):
    """A patient that somebody else starts: its process is whoever wrote the last line into its starts file."""

    @property
    def pid(self) -> int:
        """Return the id of the newest instance."""
        return int((self.folder / f"{self.name}.starts").read_text().splitlines()[-1].split()[0])

    def lie_in(self, folder: Path) -> None:
        """Keep the files in `folder`."""
        self.folder = folder


@contextmanager
def supervisord(patient: Guarded, folder: Path) -> Iterator[Guarded]:
    """Run `patient` under supervisord with `autorestart`."""
    patient.lie_in(folder)
    config = folder / "supervisord.conf"
    config.write_text(SUPERVISORD.format(folder=folder, name=patient.name, command=" ".join(patient.command)))
    program = Path(sys.executable).with_name("supervisord")
    with _guarding(patient, [str(program), "-n", "-c", str(config)]):
        yield patient


@contextmanager
def watchdog(patient: Guarded, folder: Path) -> Iterator[Guarded]:
    """Run `patient` under the polling watchdog."""
    patient.lie_in(folder)
    with _guarding(patient, [sys.executable, "-m", "benchmarks.watchdog", patient.url, *patient.command]):
        yield patient


@contextmanager
def _guarding(patient: Guarded, command: list[str]) -> Iterator[None]:
    with (patient.folder / f"{patient.name}.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        eventually(lambda: patient.answers() == 200, within=20)
        yield
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    for child in children:
        _quietly(child.resume)
        _quietly(child.kill)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _quietly(action: Callable[[], None]) -> None:
    try:
        action()
    except psutil.NoSuchProcess:
        return
