"""A fleet to sweep: checks that find what a test says, a clock that it moves, and a store that keeps the events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, JsonValue

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.sweep import Sweeper, Swept
from recovery.models import Category, CheckState, Event, Sample, ServiceState
from recovery.ports import CheckKind, Finding
from recovery.registry import Registry
from recovery.store.memory import MemoryStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class NoBeats:
    def last(self, service: str) -> datetime | None:
        return None


class NoOptions(BaseModel):
    pass


class Recording(MemoryStore):
    """Keep the events that are recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Event] = []

    def record_sweep(
        self,
        samples: Sequence[Sample],
        checks: Sequence[CheckState],
        services: Sequence[ServiceState],
        events: Sequence[Event],
        now: datetime | None = None,
    ) -> None:
        super().record_sweep(samples, checks, services, events, now)
        self.told.extend(events)


@dataclass
class Scene:
    """A fleet whose checks find what the test says, and a clock that moves only between sweeps."""

    fleet: Fleet
    now: datetime = NOON
    findings: dict[str, Finding] = field(default_factory=dict)
    busy: dict[str, datetime | None] = field(default_factory=dict)
    on_probe: Callable[[str], None] = lambda _name: None
    store: Recording = field(default_factory=Recording)

    def sweep(self, interval: float = 10, shard: int = 0, shards: int = 1) -> Swept:
        swept = Sweeper(self.store, self.kinds(), NoBeats(), lambda: self.now, lambda: dict(self.busy)).run(
            self.fleet, interval, shard, shards
        )
        self.now += timedelta(seconds=interval)
        return swept

    def kinds(self) -> Registry[CheckKind]:
        kinds: Registry[CheckKind] = Registry("check kind")
        kinds.add("told", CheckKind("told", NoOptions, lambda service, check, _beats: Told(self, f"{service.name}.{check.name}")))
        return kinds

    def breaks(self, name: str, message: str = "broken", category: Category | None = None, **details: JsonValue) -> None:
        self.findings[name] = Finding(ok=False, message=message, category=category, details={**details})

    def mends(self, name: str) -> None:
        self.findings.pop(name)

    def event_names(self) -> list[str]:
        return [event.name for event in self.store.told]


@dataclass(frozen=True)
class Told:
    scene: Scene
    name: str

    async def probe(self) -> Finding:
        self.scene.on_probe(self.name)
        return self.scene.findings.get(self.name, Finding(ok=True))


def check(name: str = "web", **more: object) -> CheckDeclaration:
    return CheckDeclaration.model_validate({"name": name, "type": "told", "interval": 10, "fall": 1, "rise": 1, **more})


def scene(**services: tuple[CheckDeclaration, ...]) -> Scene:
    declared = {name: ServiceDeclaration(name=name, checks=checks, labels={"team": "web"}) for name, checks in services.items()}
    return Scene(Fleet(version="1", services=declared))
