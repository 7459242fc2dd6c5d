"""Check `memory`: how much of it the host, or one program with its children, uses."""

from dataclasses import dataclass
from typing import Annotated

import psutil
from pydantic import ByteSize, Field

from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.processes import ProcessChoice, find, with_children
from recovery.detect.threads import in_thread
from recovery.models import Category, FailureType, JsonObject
from recovery.ports import CheckKind, Finding, Heartbeats


class MemoryOptions(ProcessChoice):
    """`type = "memory"`: of the host, or of the processes given by `pidfile` or `match`."""

    max_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Percent of the host's memory. Default 85 if no limit is given."""
    max_bytes: ByteSize | None = None
    """Bytes, like `"512MiB"`: in use on the host, or resident in the processes (shared pages count in each)."""
    children: bool = True
    """Count the children of the processes too."""

    @property
    def percent(self) -> float | None:
        """Return the limit in percent that is in force."""
        return 85.0 if self.max_percent is None and self.max_bytes is None else self.max_percent


@dataclass(frozen=True, slots=True)
class MemoryCheck:
    """Compare what is used with the limits."""

    name: str
    options: MemoryOptions
    timeout: float

    async def probe(self) -> Finding:
        """Look once."""
        return await in_thread(("memory", self.name), self._look, self.timeout)

    def _look(self) -> Finding:
        host = psutil.virtual_memory()
        if not self.options.is_given:
            return judge_memory(self.options, host.total - host.available, host.total)
        found = find(self.options)
        if found.problem:
            return Finding(ok=False, message=found.problem, category=Category.SERVICE_UNAVAILABLE)
        processes = with_children(found.processes) if self.options.children else found.processes
        return judge_memory(self.options, sum(map(_resident, processes)), host.total)


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0  # gone since we listed it


def judge_memory(options: MemoryOptions, used: int, total: int) -> Finding:
    """Return the verdict on `used` of the host's `total` bytes."""
    percent = 100 * used / total
    details: JsonObject = {"used": used, "percent": round(percent, 1)}
    if options.percent is not None and percent > options.percent:
        message = f"uses {percent:.1f} % of the memory, wanted at most {options.percent:g} %"
    elif options.max_bytes is not None and used > options.max_bytes:
        message = f"uses {ByteSize(used).human_readable()} of memory, wanted at most {options.max_bytes.human_readable()}"
    else:
        return Finding(ok=True, details=details)
    return Finding(ok=False, message=message, category=Category.MEMORY_PRESSURE, type=FailureType.RESOURCE_LIMIT, details=details)


def build(service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> MemoryCheck:
    """Return the declared check."""
    return MemoryCheck(f"{service.name}.{check.name}", MemoryOptions.model_validate(check.options), check.timeout)


MEMORY = CheckKind("memory", MemoryOptions, build, Category.MEMORY_PRESSURE, interval=30.0)
