"""Run checks: many at once, each within its timeout, none able to hurt the others. A probe never raises, it finds."""

import asyncio
import zlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.clean import clean
from recovery.detect.shared import sharing
from recovery.detect.threads import ImpatientExecutor
from recovery.errors import UnknownName, nearest
from recovery.models import Category, FailureType, utcnow
from recovery.ports import CheckKind, Clock, Finding, Heartbeats
from recovery.registry import Registry

T = TypeVar("T")

CONCURRENCY = 200
"""Probes in flight at once."""
RESOLVERS = 32
"""Threads that resolve host names for one round."""


@dataclass(frozen=True, slots=True)
class Target:
    """One declared check of one service."""

    service: ServiceDeclaration
    check: CheckDeclaration

    @property
    def name(self) -> str:
        """Return `service.check`."""
        return f"{self.service.name}.{self.check.name}"


@dataclass(frozen=True, slots=True)
class Look:
    """What one probe found, when it began and how long it took."""

    finding: Finding
    at: datetime
    latency: float
    """Seconds."""


def share_of(name: str) -> float:
    """Return a number from 0 up to 1 that depends on nothing but `name`, in every process alike."""
    return zlib.crc32(name.encode()) / 2**32


def find_target(fleet: Fleet, name: str) -> Target | None:
    """Return the check called `service.check`, None if there is none. Both names may contain dots themselves."""
    head = name
    while "." in head:
        head = head.rpartition(".")[0]
        service = fleet.services.get(head)
        check = service.check(name[len(head) + 1 :]) if service else None
        if service and check:
            return Target(service, check)
    return None


def meaning(kinds: Registry[CheckKind], check: CheckDeclaration, finding: Finding) -> Category:
    """Return what `finding` means: what the operator declared, else what the probe said, else what its kind means."""
    if check.category or finding.category:
        return check.category or finding.category or Category.UNKNOWN
    return kinds[check.kind].category if check.kind in kinds else Category.UNKNOWN


async def examine(kinds: Registry[CheckKind], target: Target, heartbeats: Heartbeats) -> Finding:
    """Probe once within the check's timeout. Whatever goes wrong is a failed finding; only cancellation gets out.

    A check that cannot even be built (unknown kind, bad options) says nothing about its service: category `unknown`.
    """
    check = target.check
    try:
        probe = kinds[check.kind].build(target.service, check, heartbeats).probe
    except Exception as error:  # noqa: BLE001 - third parties build checks too
        return clean(Finding(ok=False, message=_sentence(error), category=Category.UNKNOWN, type=FailureType.INITIALIZATION))
    try:
        async with asyncio.timeout(check.timeout) as limit:
            finding: object = await probe()
        return clean(finding) if isinstance(finding, Finding) else _no_finding(check, finding)
    except TimeoutError as error:
        message = f"no answer within {check.timeout:g} s" if limit.expired() else _sentence(error)
        return clean(Finding(ok=False, message=message, type=FailureType.TIMEOUT))
    except Exception as error:  # noqa: BLE001 - by contract an exception is a failed probe
        return clean(Finding(ok=False, message=_sentence(error), type=FailureType.ERROR))


def _no_finding(check: CheckDeclaration, answer: object) -> Finding:
    message = f"check kind '{check.kind}' returned {type(answer).__name__} instead of a Finding"
    return Finding(ok=False, message=message, category=Category.UNKNOWN, type=FailureType.INITIALIZATION)


def _sentence(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"invalid option {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error) or type(error).__name__


async def look_at(
    kinds: Registry[CheckKind],
    targets: Sequence[Target],
    heartbeats: Heartbeats,
    *,
    concurrency: int = CONCURRENCY,
    deadline: float | None = None,
    offset: Callable[[Target], float] = lambda _target: 0.0,
    clock: Clock = utcnow,
) -> dict[str, Look]:
    """Probe all `targets` and return what was found, by `service.check`.

    Args:
        kinds: the known kinds of checks.
        targets: what to probe; the names must differ.
        heartbeats: the last signs of life.
        concurrency: probes in flight at once; time spent waiting for a turn does not count for the timeout.
        deadline: seconds after which whatever has not answered is left out; None: every probe gets its turn.
        offset: seconds after which a target's probe may start.
        clock: dates the findings.
    """
    turns = asyncio.Semaphore(concurrency)
    looks: dict[str, Look] = {}

    async def look(target: Target) -> None:
        if delay := offset(target):
            await asyncio.sleep(delay)
        async with turns:
            at, began = clock(), asyncio.get_running_loop().time()
            finding = await examine(kinds, target, heartbeats)
            looks[target.name] = Look(finding, at, asyncio.get_running_loop().time() - began)

    async with sharing():
        tasks = [asyncio.create_task(look(target)) for target in targets]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=deadline)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return looks


async def probe_all(kinds: Registry[CheckKind], fleet: Fleet, heartbeats: Heartbeats, names: Iterable[str]) -> dict[str, Finding]:
    """Probe each `service.check` once, concurrently, and return the findings by that name; an unknown name is a failed finding."""
    wanted = {name: find_target(fleet, name) for name in names}
    looks = await look_at(kinds, [target for target in wanted.values() if target], heartbeats)
    return {name: looks[target.name].finding if target else _unknown(fleet, name) for name, target in wanted.items()}


def _unknown(fleet: Fleet, name: str) -> Finding:
    known = [Target(service, check).name for service in fleet.services.values() for check in service.checks]
    error = UnknownName(f"no check '{name}' is declared{nearest(name, known)}")
    return Finding(ok=False, message=error.message, category=Category.UNKNOWN, type=FailureType.INITIALIZATION)


def run_round(work: Coroutine[Any, Any, T]) -> T:
    """Run one round of probes on an event loop of its own; a host name that does not resolve cannot hold its end up."""

    async def on_own_loop() -> T:
        executor = ImpatientExecutor(RESOLVERS, thread_name_prefix="resolve")
        asyncio.get_running_loop().set_default_executor(executor)
        return await work

    return asyncio.run(on_own_loop())


@dataclass(frozen=True, slots=True)
class FleetProbe:
    """Probe declared checks on the spot; the `Probe` port for strategies and the engine. Not for use inside an event loop."""

    kinds: Registry[CheckKind]
    fleet: Callable[[], Fleet]
    heartbeats: Heartbeats

    def __call__(self, checks: Sequence[str]) -> Mapping[str, Finding]:
        """Probe each `service.check` once, concurrently, and return the findings by that name."""
        return run_round(probe_all(self.kinds, self.fleet(), self.heartbeats, checks))
