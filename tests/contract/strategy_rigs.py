"""One broken thing per strategy, real where it can be: a service process, files, a cache in Valkey, breakers and flags in memory."""

import hashlib
import json
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import redis

from recovery.breaker import BreakerOptions, MemoryBreakers
from recovery.config.fleet import CheckDeclaration, DriverDeclaration, Fleet, ServiceDeclaration
from recovery.degrade import MemoryDegradations, MemoryEndpoints
from recovery.engine.executor import Executor
from recovery.errors import LeaseLost
from recovery.integrity import seal
from recovery.models import (
    Action,
    Attempt,
    Category,
    Degradation,
    Endpoint,
    Failure,
    JsonObject,
    Kind,
    Level,
    Plan,
    Recovery,
    RecoveryState,
    Severity,
    Step,
    utcnow,
)
from recovery.ports import AttemptContext, Execute, Finding, StepWork
from strategies import Collaborators, build
from strategies.drivers import DRIVERS
from tests.contract.driver_rigs import SERVICE
from tests.support import free_port
from tests.world import World


class Probes:
    """Answers probes: every check passes unless it is in `broken`."""

    def __init__(self) -> None:
        self.broken: dict[str, str] = {}
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, checks: Sequence[str]) -> Mapping[str, Finding]:
        self.asked.append(tuple(checks))
        return {check: Finding(ok=check not in self.broken, message=self.broken.get(check, "fine")) for check in checks}


@dataclass
class Bench:
    """Collaborators to act through, and the context of one attempt."""

    home: Path
    probe: Probes = field(default_factory=Probes)
    degradations: MemoryDegradations = field(default_factory=MemoryDegradations)
    endpoints: MemoryEndpoints = field(default_factory=MemoryEndpoints)
    breakers: MemoryBreakers = field(
        default_factory=lambda: MemoryBreakers(options=BreakerOptions(failure_threshold=1, success_threshold=2))
    )
    clock: Callable[[], datetime] = utcnow

    @property
    def collaborators(self) -> Collaborators:
        return Collaborators(DRIVERS, self.probe, self.degradations, self.endpoints, self.breakers, self.clock)

    def steps(self, service: ServiceDeclaration, strategy: str, action: Action = Action.APPLY, fence: int = 1) -> "Attempted":
        attempted = Attempted({})
        context = self.context(service, attempted, fence)
        attempted.works = tuple(build(self.collaborators)[strategy].steps(context, action))
        return attempted

    def carry_out(self, service: ServiceDeclaration, strategy: str) -> "CarriedOut":
        """Let the engine run one attempt, on a store of its own."""
        world = World()
        world.registry = build(self.collaborators)
        world.fleet = Fleet(version="v1", services={service.name: service})
        world.use(world.store)
        executor = Executor(world.store, world.registry, lambda: world.fleet, self.probe, self.clock, "bench")
        recovery_id = world.desk.trigger(service.name, strategy).recovery.id
        directive = world.advance(recovery_id)
        assert isinstance(directive, Execute), directive
        attempt = executor.run(directive.recovery_id, directive.attempt)
        assert attempt is not None
        return CarriedOut(attempt, {step.name: step for step in world.store.steps(recovery_id)})

    def context(self, service: ServiceDeclaration, attempted: "Attempted | None" = None, fence: int = 1) -> AttemptContext:
        attempted = attempted or Attempted({})
        return AttemptContext(
            service=service,
            recovery=recovery_of(service),
            attempt=1,
            fence=fence,
            failure=Failure(service=service.name),
            results=attempted.results,
            guard=attempted.guard,
            clock=self.clock,
        )


@dataclass(frozen=True)
class CarriedOut:
    """One attempt as it ended, and its journal by the names of the steps."""

    attempt: Attempt
    steps: Mapping[str, Step]


class Attempted:
    """The steps of one attempt, run as the engine runs them."""

    def __init__(self, results: dict[str, JsonObject]) -> None:
        self.results = results
        self.works: tuple[StepWork, ...] = ()
        self.lost = False
        """True: somebody else has the service now."""

    def guard(self) -> None:
        if self.lost:
            raise LeaseLost

    def named(self, name: str) -> StepWork:
        return next(work for work in self.works if work.name == name)

    def run(self, names: Iterable[str] | None = None) -> dict[str, JsonObject]:
        """Run these steps (all of them by default) and return every result so far, as the journal keeps it."""
        for work in self.works:
            if names is None or work.name in names:
                self.results[work.name] = journaled(work.run(journaled(work.prepare())))
        return self.results


def journaled(value: JsonObject) -> JsonObject:
    """Return what comes back from a JSON column."""
    loaded: JsonObject = json.loads(json.dumps(value))
    return loaded


def recovery_of(service: ServiceDeclaration) -> Recovery:
    now = utcnow()
    return Recovery(
        id="5c0e1f0a-0000-4000-8000-000000000001",
        service=service.name,
        fingerprint="f",
        category=Category.UNKNOWN,
        severity=Severity.HIGH,
        kind=Kind.AUTOMATIC,
        state=RecoveryState.IN_PROGRESS,
        plan=Plan(),
        created_at=now,
        first_evidence_at=now,
        message="it is broken",
    )


def declare(name: str = "shop", *, remedies: dict[str, JsonObject] | None = None, driver: JsonObject | None = None) -> ServiceDeclaration:
    options = {key: value for key, value in (driver or {}).items() if key != "type"}
    return ServiceDeclaration(
        name=name,
        checks=(CheckDeclaration(name="http", kind="http"),),
        driver=DriverDeclaration(kind=str(driver["type"]), options=options) if driver else None,
        remedies=remedies or {},
    )


def process_driver(home: Path, *flags: str) -> JsonObject:
    """Return the driver table of the small service of the driver tests."""
    port = free_port()
    command: list[str] = [sys.executable, str(SERVICE), str(port), *flags]
    return {"type": "process", "command": [*command], "pidfile": str(home / "shop.pid"), "cwd": str(home), "ports": [port]}


def make_database(path: Path, rows: int = 50) -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT)")
        database.executemany("INSERT INTO orders (item) VALUES (?)", [(f"item {number}",) for number in range(rows)])
        database.commit()
    return path


def scribble(path: Path) -> None:
    """Overwrite everything behind SQLite's header, as a failing disk might."""
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xa5" * (len(content) - 100))


def write_checksum(backup: Path) -> None:
    backup.with_name(f"{backup.name}.sha256").write_text(f"{hashlib.sha256(backup.read_bytes()).hexdigest()}  {backup.name}\n")


def fill_cache(cache: "redis.Redis", names: Iterable[str]) -> None:
    for name in names:
        cache.set(f"product:{name}", seal(f"payload of {name}".encode()), ex=600)


def cache_remedy(home: Path, url: str) -> JsonObject:
    """Return a remedy that rebuilds from the table `products`."""
    catalog = home / "catalog.db"
    with closing(sqlite3.connect(catalog)) as database:
        database.execute("CREATE TABLE products (name TEXT PRIMARY KEY, payload TEXT)")
        database.executemany("INSERT INTO products VALUES (?, ?)", [(name, f"payload of {name}") for name in "abcdef"])
        database.commit()
    query = "SELECT 'product:' || name AS key, payload AS value FROM products WHERE 'product:' || name = :key"
    return {"url": url, "match": "product:*", "source": {"sql": {"url": f"sqlite:///{catalog}", "query": query}}}


def degradation(service: str, fence: int, **changes: object) -> Degradation:
    now = utcnow()
    return Degradation(service, Level.LIMITED, now, now + timedelta(seconds=60), recovery_id="other", fence=fence, **changes)  # type: ignore[arg-type]


def endpoint(service: str, fence: int) -> Endpoint:
    return Endpoint(service, "other", "http://other", utcnow(), "other", fence)
