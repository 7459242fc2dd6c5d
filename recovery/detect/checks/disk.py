"""Check `disk`: how full the file system of a path is, for the worker's own user."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psutil
from pydantic import ByteSize, Field

from recovery.config.base import Declaration
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.threads import in_thread
from recovery.models import Category, FailureType, JsonObject
from recovery.ports import CheckKind, Finding, Heartbeats


class DiskOptions(Declaration):
    """`type = "disk"`."""

    path: Path = Path("/")
    """Any path on the file system."""
    max_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Percent in use, as `df` counts. Default 90 if no limit is given."""
    min_free: ByteSize | None = None
    """Bytes that must be free, like `"2GiB"`."""

    @property
    def percent(self) -> float | None:
        """Return the limit in percent that is in force."""
        return 90.0 if self.max_percent is None and self.min_free is None else self.max_percent


@dataclass(frozen=True, slots=True)
class DiskCheck:
    """Compare what is used with the limits."""

    name: str
    options: DiskOptions
    timeout: float

    async def probe(self) -> Finding:
        """Look once, in a thread: a network file system may hang."""
        return await in_thread(("disk", self.name), self._look, self.timeout)

    def _look(self) -> Finding:
        try:
            usage = psutil.disk_usage(str(self.options.path))
        except OSError as error:
            message = f"cannot look at {self.options.path}: {error.strerror}"
            return Finding(ok=False, message=message, category=Category.UNKNOWN, type=FailureType.ERROR)
        return judge_disk(self.options, usage.percent, usage.free)


def judge_disk(options: DiskOptions, percent: float, free: int) -> Finding:
    """Return the verdict on a file system that is `percent` full with `free` bytes left."""
    details: JsonObject = {"percent": percent, "free": free}
    if options.percent is not None and percent > options.percent:
        message = f"{options.path} is {percent:.1f} % full, wanted at most {options.percent:g} %"
    elif options.min_free is not None and free < options.min_free:
        message = f"{options.path} has {ByteSize(free).human_readable()} left, wanted at least {options.min_free.human_readable()}"
    else:
        return Finding(ok=True, details=details)
    return Finding(ok=False, message=message, category=Category.DISK_PRESSURE, type=FailureType.RESOURCE_LIMIT, details=details)


def build(service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> DiskCheck:
    """Return the declared check."""
    return DiskCheck(f"{service.name}.{check.name}", DiskOptions.model_validate(check.options), check.timeout)


DISK = CheckKind("disk", DiskOptions, build, Category.DISK_PRESSURE, interval=30.0)
