"""A whole recovery engine in memory, with a clock that tests advance and remedies that write down what they did."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ConfigDict

from recovery.config.fleet import CheckDeclaration, Fleet, PlatformDeclaration, ServiceDeclaration
from recovery.engine.coordinator import Coordinator
from recovery.engine.desk import Desk
from recovery.engine.executor import Executor
from recovery.engine.reaper import Reaper
from recovery.models import (
    Action,
    Attempt,
    Category,
    Event,
    Failure,
    JsonObject,
    Recovery,
    ServiceState,
    Silence,
    SilenceKind,
    Status,
    new_id,
)
from recovery.ports import AttemptContext, Directive, Execute, Finding, Retry, StepWork, Store, Strategy
from recovery.registry import Registry
from recovery.store.memory import MemoryCooldowns, MemoryStore


class NoOptions(BaseModel):
    """Takes no options."""

    model_config = ConfigDict(extra="forbid")


@dataclass
class FakeStrategy:
    """A remedy whose steps append to `ledger`; `before` and `during` run before and after the effect of the step of that name.

    One that only mitigates, or `undoes`, takes a step back by a step `undo:<name>`.
    """

    name: str
    ledger: list[str]
    queue: str = "restart"
    priority: int = 50
    typical_seconds: float = 3.0
    options: type[BaseModel] = NoOptions
    holds: float | None = None
    lapses: bool = True
    step_names: tuple[str, ...] = ("one", "two")
    before: dict[str, Callable[[], None]] = field(default_factory=dict)
    during: dict[str, Callable[[], None]] = field(default_factory=dict)
    took_effect: Callable[[str], bool] = lambda _step: False
    refusal: str | None = None
    undoes: bool = False
    retry: Retry | None = None
    optional: tuple[str, ...] = ()

    def refuses(self, service: ServiceDeclaration, category: Category) -> str | None:
        return self.refusal

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        return self.holds

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        return None

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        return [self._step(f"{action}:{name}" if action is Action.REVERT else name, context) for name in self.step_names]

    def _step(self, name: str, context: AttemptContext) -> StepWork:
        def run(_intent: JsonObject) -> JsonObject:
            context.guard()
            self.before.get(name, lambda: None)()
            self.ledger.append(f"{self.name}.{name}")
            self.during.get(name, lambda: None)()
            return {"done": name}

        def reconcile(_intent: JsonObject) -> JsonObject | None:
            return {"done": name} if self.took_effect(name) else None

        def undo(_intent: JsonObject, result: JsonObject | None) -> StepWork | None:
            return None if result is None else self._step(f"undo:{name}", context)

        takes_back = undo if (self.undoes or self.holds is not None) and ":" not in name else None
        return StepWork(name, run, reconcile=reconcile, retry=self.retry, optional=name in self.optional, undo=takes_back)


class World:
    """One service `web` (depending on `db`), the strategies given, and everything that recovers it."""

    def __init__(self, *strategies: str, platform: Mapping[str, object] | None = None, **service: object) -> None:
        self.now = datetime(2026, 1, 1, 12, tzinfo=UTC)
        self.ledger: list[str] = []
        self.healthy = True
        self.blind: str | None = None
        self.owed: list[Callable[[], None]] = []
        self.store = MemoryStore()
        self.cooldowns = MemoryCooldowns(self.clock)
        self.strategies = {name: FakeStrategy(name, self.ledger, holds=900.0 if name == "degrade" else None) for name in strategies}
        self.registry: Registry[Strategy] = Registry("strategy")
        for name, strategy in self.strategies.items():
            self.registry.add(name, strategy)
        check = CheckDeclaration.model_validate({"name": "http", "type": "http", "interval": 1, "timeout": 1})
        declared = {"name": "web", "checks": (check,), "healthy_for": 0, "verify_timeout": 0.05, "depends_on": ("db",)}
        web = ServiceDeclaration.model_validate(declared | {"plan": {"service_unavailable": strategies}} | service)
        services = {"web": web, "db": ServiceDeclaration(name="db", checks=(check,))}
        self.fleet = Fleet(version="v1", platform=PlatformDeclaration.model_validate(platform or {}), services=services)
        self.use(self.store)

    def use(self, store: Store) -> None:
        """Let everything work on `store` from now on."""
        self.at_work = store
        self.desk = Desk(store, self.registry, lambda: self.fleet, self.clock, later=("scale",))
        self.coordinator = Coordinator(store, self.cooldowns, self.registry, lambda: self.fleet, self.clock, lambda *_: self.blind)
        self.executor = self.worker("worker-1")
        self.reaper = Reaper(store, self.coordinator, self.registry, lambda: self.fleet, self.clock)

    def clock(self) -> datetime:
        return self.now

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def worker(self, node: str) -> Executor:
        """Return a worker; what it cannot give up at once is `owed`."""
        return Executor(
            self.at_work,
            self.registry,
            lambda: self.fleet,
            self._probe,
            self.clock,
            node,
            objects=self.coordinator.objects,
            insist=self.owed.append,
        )

    def settle(self) -> None:
        """Let the store be back for those that live: they give up what they had to keep."""
        while self.owed:
            self.owed.pop(0)()

    def _probe(self, checks: Sequence[str]) -> dict[str, Finding]:
        return {name: Finding(self.healthy, "" if self.healthy else "connection refused") for name in checks}

    def report(self, **fields: object) -> str:
        payload = {"service": "web", "category": "service_unavailable", "occurred_at": self.now.isoformat()} | fields
        return self.desk.report(payload).recovery.id

    def advance(self, recovery_id: str) -> Directive:
        return self.coordinator.advance(recovery_id)

    def execute(self, directive: Directive) -> Attempt | None:
        assert isinstance(directive, Execute), directive
        return self.executor.run(directive.recovery_id, directive.attempt)

    def run(self, recovery_id: str) -> Directive:
        """Do what the tasks do until the recovery closes or waits."""
        directive = self.advance(recovery_id)
        while isinstance(directive, Execute):
            self.execute(directive)
            directive = self.advance(recovery_id)
        return directive

    def recovery(self, recovery_id: str) -> Recovery:
        found = self.at_work.recovery(recovery_id)
        assert found, recovery_id
        return found

    def guards(self, recovery_id: str) -> list[str]:
        """Return the guards that decided about a recovery, in order, repeats left out."""
        return [decision.guard for decision in self.store.decisions if decision.recovery_id == recovery_id]

    def told(self, name: str) -> list[Event]:
        """Return the events of one name."""
        return [event for event in self.store.events if event.name == name]

    def declare(self, *names: str, **fields: object) -> None:
        """Add services that are like `web` and depend on nothing."""
        like_web = self.fleet.services["web"].model_copy(update={"depends_on": (), **fields})
        services = {name: like_web.model_copy(update={"name": name}) for name in names}
        self.fleet = self.fleet.model_copy(update={"services": {**self.fleet.services, **services}})

    def change(self, service: str = "", **fields: object) -> None:
        """Change the declaration of a service, or of the platform where none is named."""
        if service:
            changed = self.fleet.services[service].model_copy(update=fields)
            self.fleet = self.fleet.model_copy(update={"services": {**self.fleet.services, service: changed}})
        else:
            self.fleet = self.fleet.model_copy(update={"platform": self.fleet.platform.model_copy(update=fields)})

    def silence(self, kind: SilenceKind, seconds: float | None = None, *services: str) -> Silence:
        """Put a silence in force for some seconds, or until it is lifted; for every service where none is named."""
        until = self.now + timedelta(seconds=seconds) if seconds else None
        silence = Silence(new_id(), kind, self.now, until, "ann", "because", self.now, services)
        self.store.put_silence(silence)
        return silence

    def see(self, service: str, status: Status, since: float = 0.0) -> None:
        """Let a sweep have seen `service` in `status` since `since` seconds ago."""
        state = ServiceState(service, status, since=self.now - timedelta(seconds=since), seen_at=self.now)
        self.store.record_sweep([], [], [state], [])

    def mark_stable(self, service: str) -> None:
        """Let the attempts so far no longer count."""
        known = self.store.service_states().get(service, ServiceState(service))
        self.store.record_sweep([], [], [replace(known, stable_since=self.now)], [])

    def failure(self, **fields: object) -> Failure:
        return Failure.model_validate({"service": "web", "category": "service_unavailable"} | fields)
