"""Strategy `quarantine`: take a service out of the traffic before it does harm. It mitigates, never resolves, and ends after a time."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed
from recovery.models import Action, BreakerOrder, BreakerState, BreakerView, Category, JsonObject, Level, ServiceName
from recovery.ports import AttemptContext, StepWork
from strategies.collaborators import Collaborators
from strategies.degradations import Limited, degradation_of, end_step, put_step

GRACE = 60.0
"""Seconds for which a breaker is held open beyond the TTL: time for verifying and for the tick that lets it go and says so. After that
it is let go in Redis, also when no platform knows of the quarantine any more."""


def by(service: str) -> str:
    """Return who gives a breaker its orders for the quarantine of a service; what others have ordered is left alone."""
    return f"quarantine of {service}"


class QuarantineOptions(Limited):
    """`[services.X.remedies.quarantine]`."""

    capability: Annotated[str, Field(min_length=1, max_length=100)] = "traffic"
    """The capability of which nothing is left; whoever routes calls asks for it."""
    breaker: ServiceName | None = None
    """A shared breaker that is held open meanwhile, so that callers are refused at once; default: none."""


class Quarantine:
    """Leave nothing of a service's traffic and hold its breaker open; let both go for `REVERT`."""

    name = "quarantine"
    queue = "degrade"
    priority = 35
    typical_seconds = 1.0
    options: type[BaseModel] = QuarantineOptions
    lapses = False
    """Somebody should let the breaker go and say so: a restore, or the tick that sees the time run out (`release`)."""

    def __init__(self, collaborators: Collaborators) -> None:
        self._degradations = collaborators.degradations
        self._breakers = collaborators.breakers

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services that do not declare it."""
        return None if self.name in service.remedies else "the service does not declare the remedy 'quarantine'"

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return hold_open (with a breaker) and isolate; let_go and restore take them back."""
        options = self._options(context.service)
        if action is Action.REVERT:
            restore = end_step(context, self._degradations, self.name)
            return (self._let_go(context, options.breaker), restore) if options.breaker else (restore,)
        wanted = degradation_of(context, self.name, options, Level.EMERGENCY, (), {options.capability: 0})
        isolate = put_step(context, self._degradations, "isolate", self.name, options.ttl, wanted)
        return (self._hold_open(context, options.breaker), isolate) if options.breaker else (isolate,)

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Verify with the declared checks only (the service itself is still sick), a restore with all of its own."""
        return None if action is Action.REVERT else self._options(service).verify

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the TTL."""
        return self._options(service).ttl

    def release(self, service: ServiceDeclaration) -> None:
        """Let the breaker go if it is this quarantine that holds it; for one whose time has run out. Raises `StoreUnavailable`."""
        name = self._options(service).breaker
        if name is not None:
            self._end(name, service.name)

    def _options(self, service: ServiceDeclaration) -> QuarantineOptions:
        return QuarantineOptions.model_validate(service.remedies.get(self.name, {}))

    def _mode(self, name: str) -> BreakerOrder:
        view = self._breakers.view(name)
        return view.mode if view else BreakerOrder.AUTO

    def _holder(self, name: str) -> str | None:
        """Return who holds the breaker open, empty if the order is from before they bore a name; None: nobody does."""
        view = self._breakers.view(name)
        return view.mode_by if view and view.mode is BreakerOrder.FORCED_OPEN else None

    def _held_until(self, name: str, service: str) -> str | None:
        """Return until when an older quarantine of the service holds the breaker open; None: there is none that does."""
        view = self._breakers.view(name)
        held = view is not None and view.mode is BreakerOrder.FORCED_OPEN and view.mode_by == by(service)
        return view.mode_until.isoformat() if view and held and view.mode_until else None

    def _hold(self, name: str, service: str, seconds: float) -> BreakerView:
        why = f"{service} is in quarantine"
        return self._breakers.operate(name, BreakerOrder.FORCED_OPEN, by(service), why, seconds, give_way=True)

    def _end(self, name: str, service: str) -> None:
        if self._holder(name) in {by(service), ""}:
            self._breakers.operate(name, BreakerOrder.AUTO, by(service), f"the quarantine of {service} is over", give_way=True)

    def _hold_open(self, context: AttemptContext, name: str) -> StepWork:
        service, ttl = context.service.name, self._options(context.service).ttl

        def prepare() -> JsonObject:
            return {"breaker": name, "mode_before": self._mode(name), "held_until": self._held_until(name, service)}

        def run(_intent: JsonObject) -> JsonObject:
            context.guard()
            view = self._hold(name, service, ttl + GRACE)
            if view.mode_by != by(service):
                who = view.mode_by or "an operator"
                raise StepFailed(f"{who} has set breaker '{name}' to {view.mode}; `recovery breakers auto {name}` gives it free")
            return {"breaker": name, "state": view.state}

        def reconcile(intent: JsonObject) -> JsonObject | None:
            held = self._holder(name) == by(service) and intent["mode_before"] == BreakerOrder.AUTO
            return {"breaker": name, "state": BreakerState.FORCED_OPEN} if held else None

        def undo(intent: JsonObject, result: JsonObject | None) -> StepWork | None:
            if result is None:
                return None
            older = intent.get("held_until")
            return self._hold_again(context, name, datetime.fromisoformat(str(older))) if older else self._let_go(context, name)

        return StepWork("hold_open", run, prepare, reconcile, undo=undo)

    def _hold_again(self, context: AttemptContext, name: str, until: datetime) -> StepWork:
        """Return the step that leaves the breaker to the older quarantine that was renewed, until when that held it; safe to run twice."""
        service = context.service.name

        def run(_intent: JsonObject) -> JsonObject:
            context.guard()
            left = (until - context.clock()).total_seconds()
            if left <= 0:
                self._end(name, service)
            elif self._holder(name) == by(service):
                self._hold(name, service, left)
            return {"breaker": name, "mode": self._mode(name)}

        return StepWork("hold again", run, lambda: {"breaker": name, "until": until.isoformat()})

    def _let_go(self, context: AttemptContext, name: str) -> StepWork:
        service = context.service.name

        def run(_intent: JsonObject) -> JsonObject:
            context.guard()
            self._end(name, service)
            return {"breaker": name, "mode": self._mode(name)}

        def reconcile(_intent: JsonObject) -> JsonObject | None:
            return None if self._holder(name) in {by(service), ""} else {"breaker": name, "mode": self._mode(name)}

        return StepWork("let_go", run, lambda: {"breaker": name, "mode_before": self._mode(name)}, reconcile)
