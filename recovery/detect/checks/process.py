"""Check `process`: is the program there, and is it able to run? Finds the dead, the zombie, the stopped and the stuck.

A process that runs but does nothing useful looks well from here; ask it with `http` or `tcp`, or let it send heartbeats.
"""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator

from recovery.config.base import SecondsOrZero
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.processes import UNINTERRUPTIBLE, ProcessChoice, ailment, find
from recovery.detect.threads import in_thread
from recovery.ports import CheckKind, Finding, Heartbeats

SAMPLING = 0.1
"""Seconds between two looks at a process in uninterruptible sleep."""


class ProcessOptions(ProcessChoice):
    """`type = "process"`: `pidfile` or `match`, and what counts as hung."""

    min_count: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Processes that must be there."""
    stuck_after: SecondsOrZero = 0.5
    """Seconds in uninterruptible sleep, without a break, that count as hung."""

    @model_validator(mode="after")
    def _needs_choice(self) -> Self:
        if not self.is_given:
            raise ValueError("give pidfile or match")
        if self.pidfile and self.min_count > 1:
            raise ValueError("min_count needs match: a pidfile names one process")
        return self


@dataclass(frozen=True, slots=True)
class ProcessCheck:
    """Look at the chosen processes; all of them must be well."""

    name: str
    options: ProcessOptions
    timeout: float

    async def probe(self) -> Finding:
        """Look once, or for `stuck_after` seconds at a process in uninterruptible sleep."""
        stuck_at = asyncio.get_running_loop().time() + self.options.stuck_after
        while True:
            finding, may_pass = await in_thread(("process", self.name), self._look, self.timeout)
            if finding.ok or not may_pass or asyncio.get_running_loop().time() >= stuck_at:
                return finding
            await asyncio.sleep(SAMPLING)

    def _look(self) -> tuple[Finding, bool]:
        """Return what is seen, and whether it may pass by itself within moments."""
        found = find(self.options)
        if found.problem:
            return Finding(ok=False, message=found.problem), False
        ill = {process.pid: why for process in found.processes if (why := ailment(process))}
        if ill:
            message = ", ".join(f"process {pid} is {why}" for pid, why in sorted(ill.items()))
            details: dict[str, str] = {str(pid): why for pid, why in ill.items()}
            return Finding(ok=False, message=message, details={"processes": {**details}}), set(ill.values()) == {UNINTERRUPTIBLE}
        count = len(found.processes)
        if count < self.options.min_count:
            return Finding(ok=False, message=f"{count} processes match, wanted at least {self.options.min_count}"), False
        return Finding(ok=True, details={"pids": [process.pid for process in found.processes]}), False


def build(service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> ProcessCheck:
    """Return the declared check."""
    return ProcessCheck(f"{service.name}.{check.name}", ProcessOptions.model_validate(check.options), check.timeout)


PROCESS = CheckKind("process", ProcessOptions, build)
