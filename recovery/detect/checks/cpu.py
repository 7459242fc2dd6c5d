"""Check `cpu`: how busy the host, or one program with its children, is over a short window."""

import asyncio
import time
from dataclasses import dataclass
from typing import Annotated

import psutil
from pydantic import Field

from recovery.config.base import Seconds
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.processes import Found, ProcessChoice, find, with_children
from recovery.detect.threads import in_thread
from recovery.models import Category, FailureType
from recovery.ports import CheckKind, Finding, Heartbeats


class CpuOptions(ProcessChoice):
    """`type = "cpu"`: of the host, or of the processes given by `pidfile` or `match`."""

    max_percent: Annotated[float, Field(gt=0, le=100_000)] = 80.0
    """Of the host: percent of all cores together. Of processes: percent of one core, so 200 is two full cores."""
    window: Seconds = 1.0
    """Seconds to measure; at most half the check's timeout is used."""
    children: bool = True
    """Count the children of the processes too."""


@dataclass(frozen=True, slots=True)
class CpuCheck:
    """Measure over a window and compare with the limit."""

    name: str
    options: CpuOptions
    timeout: float

    async def probe(self) -> Finding:
        """Measure once."""
        window = min(self.options.window, self.timeout / 2)
        return await (self._processes(window) if self.options.is_given else self._host(window))

    async def _host(self, window: float) -> Finding:
        before = psutil.cpu_times()
        await asyncio.sleep(window)
        after = psutil.cpu_times()
        total = _total(after) - _total(before)
        return judge_cpu(self.options, 100 * (1 - (_idle(after) - _idle(before)) / total) if total > 0 else 0.0)

    async def _processes(self, window: float) -> Finding:
        found = await in_thread(("cpu", self.name), self._find, self.timeout)
        if found.problem:
            return Finding(ok=False, message=found.problem, category=Category.SERVICE_UNAVAILABLE)
        began, before = time.monotonic(), {process: _spent(process) for process in found.processes}
        await asyncio.sleep(window)
        spent = sum(max(0.0, _spent(process) - earlier) for process, earlier in before.items())
        return judge_cpu(self.options, 100 * spent / (time.monotonic() - began))

    def _find(self) -> Found:
        found = find(self.options)
        return Found(with_children(found.processes)) if found.processes and self.options.children else found


def _total(times: "psutil._ntuples.scputimes") -> float:
    # Linux counts the time of guests in user and nice already.
    return sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)


def _idle(times: "psutil._ntuples.scputimes") -> float:
    return float(times.idle + getattr(times, "iowait", 0.0))


def _spent(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0  # gone since we listed it
    return float(times.user + times.system)


def judge_cpu(options: CpuOptions, percent: float) -> Finding:
    """Return the verdict on a share of CPU time."""
    details = {"percent": round(percent, 1)}
    if percent <= options.max_percent:
        return Finding(ok=True, details={**details})
    message = f"uses {percent:.0f} % CPU, wanted at most {options.max_percent:g} %"
    return Finding(ok=False, message=message, category=Category.CPU_PRESSURE, type=FailureType.RESOURCE_LIMIT, details={**details})


def build(service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> CpuCheck:
    """Return the declared check."""
    return CpuCheck(f"{service.name}.{check.name}", CpuOptions.model_validate(check.options), check.timeout)


CPU = CheckKind("cpu", CpuOptions, build, Category.CPU_PRESSURE, interval=30.0)
