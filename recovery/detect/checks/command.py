"""Check `command`: run a program and read its exit code as Nagios plug-ins mean it: 0 ok, 1 warning, 2 critical, 3 unknown."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from recovery.config.fleet import CheckDeclaration, Declaration, ServiceDeclaration
from recovery.models import JsonObject
from recovery.ports import CheckKind, Finding, Heartbeats

KEPT_OUTPUT = 8 * 1024
"""Bytes of output that are kept; the rest is read and thrown away, so that the program never blocks on a full pipe."""
LAST_WORDS = 0.2
"""Seconds for the last output after the program ended; longer means that it left a child behind."""
MEANINGS = {0: "ok", 1: "warning", 2: "critical", 3: "unknown"}


class CommandOptions(Declaration):
    """`type = "command"`."""

    command: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]
    """Program and arguments; no shell reads them. What the program starts is killed with it at the timeout."""
    cwd: Path = Path()
    """Working directory; default: the folder of `recovery.toml`."""
    env: dict[str, str] = Field(default_factory=dict)
    """On top of the worker's environment."""
    warning_fails: bool = False
    """True: exit code 1 is a failure. Default: it passes, with its text as the message."""


@dataclass(frozen=True, slots=True)
class CommandCheck:
    """Run the program once in a process group of its own."""

    options: CommandOptions

    async def probe(self) -> Finding:
        """Run it and judge its exit code; nothing it started outlives a timeout or cancellation."""
        process = await asyncio.create_subprocess_exec(
            *self.options.command,
            cwd=self.options.cwd,
            env=os.environ | self.options.env,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        reading = asyncio.create_task(_read(process.stdout))
        try:
            code = await process.wait()
            await asyncio.wait([reading], timeout=LAST_WORDS)
        finally:
            if process.returncode is None or not reading.done():
                _kill_group(process)
                await process.wait()
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
        return judge_exit(code, reading.result() if not reading.cancelled() else b"", warning_fails=self.options.warning_fails)


def judge_exit(code: int, output: bytes, *, warning_fails: bool) -> Finding:
    """Return the verdict on an exit code. The first line of output is the message; what follows `|` is for graphs, not for people."""
    said = output.decode(errors="replace").strip().partition("\n")[0].partition("|")[0].strip()
    ok = code == 0 or (code == 1 and not warning_fails)
    meaning = MEANINGS.get(code, f"ended by signal {-code}" if code < 0 else f"exit code {code}")
    details: JsonObject = {"exit_code": code}
    if code == 0:
        return Finding(ok=ok, message=said, details=details)
    return Finding(ok=ok, message=f"{meaning}: {said}" if said else meaning, details=details)


async def _read(stream: asyncio.StreamReader) -> bytes:
    kept = b""
    while chunk := await stream.read(64 * 1024):
        kept += chunk[: KEPT_OUTPUT - len(kept)]
    return kept


def _kill_group(process: Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def build(_service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> CommandCheck:
    """Return the declared check."""
    return CommandCheck(CommandOptions.model_validate(check.options))


COMMAND = CheckKind("command", CommandOptions, build)
