"""Find the processes that a check is about, and tell the hung and the dead from the living."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import psutil
from pydantic import AfterValidator, Field, model_validator

from recovery.config.base import Declaration

CLOCK_SLACK = 2.0
"""Seconds that a process may seem younger than its pidfile: the boot time that start times count from is a whole second."""


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"'{text}' is not a regular expression: {error}") from error
    return text


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_pattern)]
"""A regular expression, searched for anywhere in the text."""


class ProcessChoice(Declaration):
    """Which processes: those of a pidfile or those whose command line matches."""

    pidfile: Path | None = None
    """A file that begins with a process id."""
    match: Pattern | None = None
    """Searched for in the command line (arguments joined by spaces); the worker itself never matches."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.pidfile and self.match:
            raise ValueError("give either pidfile or match, not both")
        return self

    @property
    def is_given(self) -> bool:
        """Say whether it is about certain processes rather than about the host."""
        return bool(self.pidfile or self.match)


@dataclass(frozen=True, slots=True)
class Found:
    """The processes that were chosen, or why there are none."""

    processes: tuple[psutil.Process, ...] = ()
    problem: str = ""


def find(choice: ProcessChoice) -> Found:
    """Return the chosen processes. Blocks for a look into every process of the machine when it goes by `match`."""
    if choice.pidfile:
        return _by_pidfile(choice.pidfile)
    matching = re.compile(choice.match or "")
    found = tuple(
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and matching.search(" ".join(process.info["cmdline"] or ()))
    )
    return Found(found) if found else Found(problem=f"no process matches '{choice.match}'")


def _by_pidfile(pidfile: Path) -> Found:
    try:
        with pidfile.open("rb") as file:
            written_at = os.fstat(file.fileno()).st_mtime
            digits = re.match(rb"\s*([1-9][0-9]{0,9})\b", file.read(64))
    except FileNotFoundError:
        return Found(problem=f"not running: there is no pidfile {pidfile}")
    except OSError as error:
        return Found(problem=f"cannot read the pidfile {pidfile}: {error.strerror}")
    if not digits:
        return Found(problem=f"the pidfile {pidfile} does not begin with a process id")
    pid = int(digits[1])
    try:
        process = psutil.Process(pid)
        created = process.create_time()
    except (psutil.NoSuchProcess, OverflowError):
        return Found(problem=f"not running: process {pid} of {pidfile} is gone")
    if created > written_at + CLOCK_SLACK:
        return Found(problem=f"not running: process {pid} is younger than {pidfile}, its id was given to another program")
    return Found((process,))


def ailment(process: psutil.Process) -> str:
    """Say in a word why a process that exists does no work, an empty string if it is well."""
    try:
        status = process.status()
    except psutil.NoSuchProcess:
        return "gone"
    return {
        psutil.STATUS_ZOMBIE: "a zombie",
        psutil.STATUS_DEAD: "dead",
        psutil.STATUS_STOPPED: "stopped (as by SIGSTOP)",
        psutil.STATUS_TRACING_STOP: "stopped by a debugger",
        psutil.STATUS_DISK_SLEEP: UNINTERRUPTIBLE,
    }.get(status, "")


UNINTERRUPTIBLE = "in uninterruptible sleep"
"""Normal for milliseconds (it waits for a disk); hung when it lasts."""


def with_children(processes: Iterable[psutil.Process]) -> tuple[psutil.Process, ...]:
    """Return the processes and all their descendants, each once."""
    family: dict[int, psutil.Process] = {}
    for process in processes:
        family[process.pid] = process
        try:
            family.update((child.pid, child) for child in process.children(recursive=True))
        except psutil.Error:
            continue  # gone since we listed it
    return tuple(family.values())
