"""Run one of the operator's commands to its end, bounded in time and output, without a shell."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field

from recovery.config.programs import Program
from recovery.errors import RecoveryError

Argv = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Program()]
"""A program and its arguments; that the program exists is seen to by `recovery check`."""

OUTPUT_LIMIT = 64 * 1024 * 1024
"""Bytes of output that are read at most."""
WORDS = 500
"""Characters of output that a message quotes at most."""


class CommandFailed(RecoveryError):
    """The command could not be run to its end."""

    code = "COMMAND_FAILED"


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command left."""

    code: int
    output: bytes
    errors: str
    """The end of its stderr."""

    def complaint(self) -> str:
        """Return exit code and last words in one phrase."""
        words = self.errors.strip() or self.output[-WORDS:].decode("utf-8", "replace").strip()
        return f"exit code {self.code}{f': {words}' if words else ''}"


def run(argv: Sequence[str], *, timeout: float, cwd: Path, env: Mapping[str, str], given: bytes = b"") -> Completed:
    """Run `argv` with `given` on its stdin; raises `CommandFailed` if it does not start, or not end within `timeout` seconds.

    Output goes to files, not pipes, because a command that leaves a daemon behind would keep a pipe open for ever.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        stdin.write(given)
        stdin.seek(0)
        try:
            process = subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, cwd=cwd, env=dict(env), start_new_session=True)
        except OSError as error:
            raise CommandFailed(f"cannot run '{argv[0]}': {error.strerror}{_where(error, cwd)}") from error
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"'{argv[0]}' did not end within {timeout:g} s{_said(stderr)}") from error
        finally:
            if process.returncode is None:
                _end(process)
        return Completed(code, _head(stdout, argv[0]), _tail(stderr))


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command with all its children; its group has its pid."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _where(error: OSError, cwd: Path) -> str:
    """Tell a missing working directory from a missing program."""
    return f" (working directory {cwd})" if str(error.filename) == str(cwd) else ""


def _head(file: IO[bytes], name: str) -> bytes:
    size = file.seek(0, os.SEEK_END)
    if size > OUTPUT_LIMIT:
        raise CommandFailed(f"'{name}' wrote {size} bytes, more than the {OUTPUT_LIMIT} that are read")
    file.seek(0)
    return file.read()


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - WORDS))
    return file.read().decode("utf-8", "replace").strip()


def _said(stderr: IO[bytes]) -> str:
    words = _tail(stderr)
    return f": {words}" if words else ""
