"""Check `command`: run a program and read its exit code as Nagios plug-ins mean it: 0 ok, 1 warning, 2 critical, 3 unknown."""

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from recovery.config.base import Declaration
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.config.programs import Program
from recovery.models import JsonObject
from recovery.ports import CheckKind, Finding, Heartbeats

KEPT_OUTPUT = 8 * 1024
"""Bytes of output that are kept; the rest is read and thrown away, so that the program never blocks on a full pipe."""
LAST_WORDS = 0.2
"""Seconds for the last output after the program ended; longer means that it left a child behind."""
BURIAL = 2.0
"""Seconds to wait for the end of a killed program."""
MEANINGS = {0: "ok", 1: "warning", 2: "critical", 3: "unknown"}


class CommandOptions(Declaration):
    """`type = "command"`."""

    command: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1), Program()]
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
        """Run it and judge its exit code; nothing that stays in its process group outlives the probe."""
        kept = bytearray()
        async with _pipe() as (output, writing_end):
            process = await self._start(writing_end)
            reading = asyncio.create_task(_keep(output, kept))
            try:
                code = await process.wait()
                await asyncio.wait([reading], timeout=LAST_WORDS)
            finally:
                if process.returncode is None or not reading.done():
                    await _kill_group(process)
                reading.cancel()
        return judge_exit(code, bytes(kept), warning_fails=self.options.warning_fails)

    async def _start(self, writing_end: int) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self.options.command,
                cwd=self.options.cwd,
                env=os.environ | self.options.env,
                stdin=DEVNULL,
                stdout=writing_end,
                stderr=writing_end,
                start_new_session=True,
            )
        finally:
            os.close(writing_end)


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """Give the reading end, and the writing end to pass on and close.

    A pipe of asyncio's own would not do: with one, `Process.wait` does not return while a left-behind child holds it open.
    """
    reading_end, writing_end = os.pipe()
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading_end, "rb", buffering=0)
    )
    try:
        yield reader, writing_end
    finally:
        transport.close()


def judge_exit(code: int, output: bytes, *, warning_fails: bool) -> Finding:
    """Return the verdict on an exit code. The first line of output is the message; what follows `|` is for graphs, not for people."""
    said = output.decode(errors="replace").strip().partition("\n")[0].partition("|")[0].strip()
    ok = code == 0 or (code == 1 and not warning_fails)
    meaning = MEANINGS.get(code, f"ended by signal {-code}" if code < 0 else f"exit code {code}")
    details: JsonObject = {"exit_code": code}
    if code == 0:
        return Finding(ok=ok, message=said, details=details)
    return Finding(ok=ok, message=f"{meaning}: {said}" if said else meaning, details=details)


async def _keep(stream: asyncio.StreamReader, kept: bytearray) -> None:
    while chunk := await stream.read(64 * 1024):
        kept += chunk[: KEPT_OUTPUT - len(kept)]


async def _kill_group(process: Process) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(BURIAL):  # one in uninterruptible sleep dies later
            await process.wait()


def build(_service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> CommandCheck:
    """Return the declared check."""
    return CommandCheck(CommandOptions.model_validate(check.options))


COMMAND = CheckKind("command", CommandOptions, build)
