"""Strategy `quarantine`: take a service out of the traffic before it does harm. It mitigates, never resolves, and ends after a time."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed
from recovery.models import Action, BreakerOrder, BreakerState, Category, JsonObject, Level, ServiceName
from recovery.ports import AttemptContext, StepWork
from strategies.collaborators import Collaborators
from strategies.degradations import Limited, degradation_of, end_step, put_step

BY = "quarantine"
"""Who holds the breaker open, in its history."""


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
    """A breaker is held open until somebody lets it go: a restore, or the tick that sees the time run out (`release`)."""

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
        isolate = put_step(context, self._degradations, "isolate", self.name, options.ttl, wanted, keeps_older=False)
        return (self._hold_open(context, options.breaker), isolate) if options.breaker else (isolate,)

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Verify with the declared checks only (the service itself is still sick), a restore with all of its own."""
        return None if action is Action.REVERT else self._options(service).verify

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the TTL."""
        return self._options(service).ttl

    def release(self, service: ServiceDeclaration) -> None:
        """Let the breaker go if it is still held; for a quarantine whose time has run out. Raises `StoreUnavailable`."""
        name = self._options(service).breaker
        if name is not None and self._mode(name) is BreakerOrder.FORCED_OPEN:
            self._breakers.operate(name, BreakerOrder.AUTO, BY, f"the quarantine of {service.name} is over")

    def _options(self, service: ServiceDeclaration) -> QuarantineOptions:
        return QuarantineOptions.model_validate(service.remedies.get(self.name, {}))

    def _mode(self, name: str) -> BreakerOrder:
        view = self._breakers.view(name)
        return view.mode if view else BreakerOrder.AUTO

    def _hold_open(self, context: AttemptContext, name: str) -> StepWork:
        service = context.service.name

        def prepare() -> JsonObject:
            renewed = self._degradations.current(service, self.name) is not None
            return {"breaker": name, "mode_before": self._mode(name), "renewed": renewed}

        def run(intent: JsonObject) -> JsonObject:
            before = str(intent["mode_before"])
            if before != BreakerOrder.AUTO and not (before == BreakerOrder.FORCED_OPEN and intent["renewed"]):
                raise StepFailed(f"an operator has set breaker '{name}' to {before}; `recovery breakers auto {name}` gives it free")
            context.guard()
            view = self._breakers.operate(name, BreakerOrder.FORCED_OPEN, BY, f"{service} is in quarantine")
            return {"breaker": name, "state": view.state}

        def reconcile(intent: JsonObject) -> JsonObject | None:
            held = self._mode(name) is BreakerOrder.FORCED_OPEN and intent["mode_before"] == BreakerOrder.AUTO
            return {"breaker": name, "state": BreakerState.FORCED_OPEN} if held else None

        def undo(_intent: JsonObject, result: JsonObject | None) -> StepWork | None:
            return None if result is None else self._let_go(context, name)

        return StepWork("hold_open", run, prepare, reconcile, undo=undo)

    def _let_go(self, context: AttemptContext, name: str) -> StepWork:
        def run(intent: JsonObject) -> JsonObject:
            if intent["mode_before"] == BreakerOrder.FORCED_OPEN:  # an operator who chose another mode since has the last word
                context.guard()
                self._breakers.operate(name, BreakerOrder.AUTO, BY, f"the quarantine of {context.service.name} is over")
            return {"breaker": name, "mode": self._mode(name)}

        def reconcile(_intent: JsonObject) -> JsonObject | None:
            mode = self._mode(name)
            return None if mode is BreakerOrder.FORCED_OPEN else {"breaker": name, "mode": mode}

        return StepWork("let_go", run, lambda: {"breaker": name, "mode_before": self._mode(name)}, reconcile)
