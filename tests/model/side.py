"""One of the two worlds: services that fall ill, remedies that leave traces, and everything that recovers them."""

import copy
import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import cast

from recovery.backoff import Linear
from recovery.engine.consent import Consent
from recovery.engine.desk import Desk
from recovery.engine.executor import Executor
from recovery.engine.limits import Watch
from recovery.engine.silencing import Silencing
from recovery.errors import DriverError
from recovery.models import Action, Category, Failure, JsonObject, Plan, Recovery
from recovery.ports import AttemptContext, Finding, Retry, StepWork, Store
from recovery.registry import Registry
from recovery.store.memory import MemoryCooldowns
from tests.model.laws import Laws
from tests.model.process import Mortal, Process, moment
from tests.world import FakeStrategy, World

SERVICES = ("web", "db", "shop")
STRATEGIES = ("reload", "restart", "degrade")
CATEGORIES = (Category.SERVICE_UNAVAILABLE, Category.CACHE)
PATIENCE = {"approval_timeout": 120, "dependency_patience": 120}
_ids = threading.local()

_ANSWER_TO = Desk._answer_to

HOLDS = 300.0
"""Seconds that a degradation lasts."""


@dataclass
class Air:
    """What both worlds share: the time, and what goes wrong in them."""

    now: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    lacking: str = ""
    """What is away: `store`, `redis`, or `sight`."""
    lacks_for: int = 0
    """For how many more processes that begin."""
    broken: dict[str, bool] = field(default_factory=dict)
    """Strategy whose second step raises an error -> whether it takes effect all the same."""

    def lacks(self, what: str) -> bool:
        """Say whether it is away now."""
        return self.lacks_for > 0 and self.lacking == what


class Patients:
    """The real things: they remember what was done to them, and refuse a fence older than one they have seen."""

    def __init__(self, laws: Laws, air: Air) -> None:
        self.laws = laws
        self.sick: dict[str, str] = {}
        """Service -> the strategy that cures it; empty: none does."""
        self._air = air
        self._fences: dict[str, int] = {}

    def act(self, context: AttemptContext, strategy: str, step: str, row_name: str) -> None:
        """Let a side effect happen."""
        moment()
        service, broken = context.service.name, self._air.broken.get(strategy) if step == "two" else None
        if context.fence < self._fences.get(service, 0):
            raise DriverError(f"fence {context.fence} is older than {self._fences[service]}")
        if broken is False:
            raise DriverError("no answer")
        self.laws.acts((context.recovery.id, context.attempt, step), row_name)
        self._fences[service] = context.fence
        if step == "two" and self.sick.get(service) == strategy:
            del self.sick[service]
        moment()
        if broken:
            raise DriverError("no answer in time")

    def ask(self, context: AttemptContext, step: str) -> bool:
        """Say whether a side effect is there."""
        service = context.service.name
        self._fences[service] = max(context.fence, self._fences.get(service, 0))
        return self.laws.asks((context.recovery.id, context.attempt, step))


@dataclass
class Remedy(FakeStrategy):
    """A remedy whose steps act on the patients of its world."""

    patients: Patients = field(kw_only=True)

    def _step(self, name: str, context: AttemptContext) -> StepWork:
        row_name = name.replace(":", " ") if name.startswith("undo") else name

        def run(_intent: JsonObject) -> JsonObject:
            context.guard()
            self.patients.act(context, self.name, name, row_name)
            return {"done": name}

        def reconcile(_intent: JsonObject) -> JsonObject | None:
            return {"done": name} if self.patients.ask(context, name) else None

        def undo(_intent: JsonObject, result: JsonObject | None) -> StepWork | None:
            return None if result is None else self._step(f"undo:{name}", context)

        takes_back = undo if (self.undoes or self.holds is not None) and ":" not in name else None
        return StepWork(name, run, reconcile=reconcile, retry=self.retry, undo=takes_back)

    def steps(self, context: AttemptContext, action: Action) -> list[StepWork]:
        """Return two steps."""
        return [self._step(f"{action}:{name}" if action is Action.REVERT else name, context) for name in self.step_names]


class Side(World):
    """Three services on one store: `web` depends on `db`, `shop` asks before it is restarted; one may be recovered at a time.

    Args:
        store: the real one.
        air: what it shares with the other side.
    """

    def __init__(self, store: Store, air: Air) -> None:
        self.air = air
        platform = {"lease": 10, "cooldown": 30, "max_attempts": 2, "stable_after": 60, **PATIENCE, "budget": {"storm_min": 2}}
        super().__init__(*STRATEGIES, platform=platform, max_attempts=None)
        self.declare("shop", approve=("restart",))
        self.change("db", **{name: getattr(self.fleet.services["web"], name) for name in ("healthy_for", "verify_timeout")})
        plans = {"web": (STRATEGIES, ("restart",)), "db": (("restart", "degrade"), ("reload",)), "shop": (("restart",), STRATEGIES)}
        for service, ways in plans.items():
            self.change(service, plan=dict(zip(CATEGORIES, ways, strict=True)))
        self.real = store
        self.redis = MemoryCooldowns(self.clock)
        self.laws = Laws(store, self.clock, most=1)
        self.patients = Patients(self.laws, air)
        self.registry = Registry("strategy")
        twice = Retry(Linear(0, 0), attempts=2)
        for name in STRATEGIES:
            holds, retry = (HOLDS if name == "degrade" else None), (twice if name == "reload" else None)
            remedy = Remedy(name, self.ledger, holds=holds, retry=retry, undoes=name == "restart", patients=self.patients)
            self.registry.add(name, remedy)

    @property
    def now(self) -> datetime:
        return self.air.now

    @now.setter
    def now(self, moment: datetime) -> None:
        self.air.now = moment

    def later(self, seconds: float) -> None:
        self.air.now += timedelta(seconds=seconds)

    @property
    def blind(self) -> str | None:
        return "nobody looks" if self.air.lacks("sight") else None

    @blind.setter
    def blind(self, _reason: str | None) -> None:
        """The air says it."""

    def as_seen_by(self, process: Process) -> "Side":
        """Return this world with everything that recovers it at work in `process`."""
        mine = copy.copy(self)
        mine.cooldowns = cast(MemoryCooldowns, Mortal(lambda: self.redis, process, lambda: self.air.lacks("redis")))
        mine.use(cast(Store, Mortal(lambda: self.real, process, lambda: self.air.lacks("store"), self.laws.heard)))
        return mine

    def use(self, store: Store) -> None:
        super().use(store)
        self.consent = Consent(store, lambda: self.fleet, self.clock)
        self.silencing = Silencing(store, lambda: self.fleet, self.clock)

    def worker(self, node: str) -> Executor:
        ticks = itertools.count()
        watch = Watch(now=lambda: next(ticks) / 100, pause=lambda _seconds: None)
        keeps = lambda _work: None  # noqa: E731 - a thread of its own would be no part of the story
        return Executor(self.at_work, self.registry, lambda: self.fleet, self._probe, self.clock, node, watch=watch, insist=keeps)

    def _probe(self, checks: Sequence[str]) -> dict[str, Finding]:
        return {name: Finding(name.split(".")[0] not in self.patients.sick, "sick") for name in checks}

    def process(self, number: int, work: "Callable[[Side], object]") -> Process:
        """Return process number `number` of this world, which does `work`."""

        def begin(process: Process) -> object:
            _ids.number = number
            _ids.here = (f"{number}-{place:06d}" for place in itertools.count())
            return work(self.as_seen_by(process))

        return Process(begin)


def next_id() -> str:
    """Return the next id of the process of this thread, the same one in both worlds."""
    return str(next(_ids.here))


def answer_to(desk: Desk, failure: Failure, chosen: Plan) -> Recovery:
    """Do what the desk does, with an id that does not tell how often it was asked: a store asks only where nothing takes a report in."""
    return replace(_ANSWER_TO(desk, failure, chosen), id=f"{_ids.number}-{failure.id}")
