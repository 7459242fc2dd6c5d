"""Strategy `circuit_reset`: close a breaker whose dependency works again. Probes first; a circuit is never closed blindly."""

import time
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from recovery.backoff import Exponential, Lasting, Longest
from recovery.config.base import Seconds, SecondsOrZero
from recovery.config.durations import TakesTime
from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed
from recovery.models import Action, BreakerState, BreakerView, Category, JsonObject, ServiceName
from recovery.ports import AttemptContext, Retry, StepWork
from strategies.collaborators import Collaborators
from strategies.spelling import CheckName

MARGIN = 30.0
"""Seconds that a step gets beyond its pauses, for the probes themselves."""
MOST_PATIENT = 2.0
"""Seconds between two probes of a patient reset, at most, unless its `interval` is longer."""


class CircuitResetOptions(BaseModel):
    """`[services.X.remedies.circuit_reset]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    breaker: ServiceName | None = None
    """Name of the shared breaker; default: the service's name."""
    probe: tuple[CheckName, ...] = ()
    """Checks (`service.check`) of the dependency behind the breaker; default: all of the service's own."""
    probes: Annotated[int, Field(ge=1, le=1_000)] = 20
    """Probes at most until the breaker must be closed."""
    interval: Seconds = 0.2
    """Seconds between two probes."""
    patience: Annotated[SecondsOrZero, TakesTime()] = 0.0
    """Seconds to wait for the dependency to pass its checks. Default 0: try the plan's next strategy at once; raise it for
    dependencies that only somebody else can mend. A worker process of the queue is taken while it waits."""

    @property
    def retry(self) -> Retry | None:
        """Return how the first probe is tried again while there is patience."""
        waits = Exponential(self.interval, 2, max(self.interval, MOST_PATIENT))
        return Retry(Longest((waits, Lasting(self.patience))), attempts=None) if self.patience else None


class CircuitReset:
    """Probe, half-open, close by as many good probes as the breaker asks for."""

    name = "circuit_reset"
    queue = "circuit_reset"
    priority = 60
    typical_seconds = 2.0
    options: type[BaseModel] = CircuitResetOptions
    lapses = True

    def __init__(self, collaborators: Collaborators) -> None:
        self._breakers = collaborators.breakers
        self._probe = collaborators.probe

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services without a declared breaker, and breakers that nothing can probe."""
        if self.name not in service.remedies:
            return "no breaker is declared (remedy 'circuit_reset')"
        return None if self._checks(service) else "there is no check to probe with"

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return probe, half_open, close; nothing takes a reset back, the breaker opens by itself."""
        if action is Action.REVERT:
            return ()
        service, options = context.service, self._options(context.service)
        name, checks = options.breaker or service.name, self._checks(service)

        def probe(_intent: JsonObject) -> JsonObject:
            self._require_good(checks, f"breaker '{name}' stays as it is")
            return {"passed": list(checks)}

        def half_open(_intent: JsonObject) -> JsonObject:
            context.guard()
            return _told(self._breakers.half_open(name))

        def reconcile_half_open(_intent: JsonObject) -> JsonObject | None:
            view = self._breakers.view(name)
            return _told(view) if view and view.state not in _SHUT else None

        def close(_intent: JsonObject) -> JsonObject:
            return self._close(context, name, checks, options)

        def reconcile_close(_intent: JsonObject) -> JsonObject | None:
            view = self._breakers.view(name)
            return _told(view) if view and _lets_through(view) else None

        return (
            StepWork("probe", probe, timeout=MARGIN, retry=options.retry),
            StepWork("half_open", half_open, lambda: self._present(name), reconcile_half_open),
            StepWork("close", close, lambda: self._present(name), reconcile_close, options.probes * options.interval + MARGIN),
        )

    def verify_with(self, _service: ServiceDeclaration, _action: Action) -> tuple[str, ...] | None:
        """Verify with all of the service's own checks."""
        return None

    def mitigates_for(self, _service: ServiceDeclaration) -> float | None:
        """Resolve: a closed and verified breaker needs no follow-up."""
        return None

    def _options(self, service: ServiceDeclaration) -> CircuitResetOptions:
        return CircuitResetOptions.model_validate(service.remedies.get(self.name, {}))

    def _checks(self, service: ServiceDeclaration) -> tuple[str, ...]:
        return self._options(service).probe or tuple(f"{service.name}.{check.name}" for check in service.checks)

    def _present(self, name: str) -> JsonObject:
        view = self._breakers.view(name)
        return _told(view) if view else {"breaker": name, "state": None}

    def _require_good(self, checks: Sequence[str], otherwise: str) -> None:
        bad = {name: finding.message for name, finding in self._probe(checks).items() if not finding.ok}
        if bad:
            raise StepFailed(f"{otherwise}: {'; '.join(f'{name}: {message}' for name, message in sorted(bad.items()))}")

    def _close(self, context: AttemptContext, name: str, checks: Sequence[str], options: CircuitResetOptions) -> JsonObject:
        """Count real probes into the breaker until it closes; the first bad one opens it again and ends the attempt."""
        view = self._breakers.half_open(name)
        for probes in range(options.probes):
            if _lets_through(view):
                return {**_told(view), "probes": probes}
            if view.state is BreakerState.FORCED_OPEN:
                raise StepFailed(f"breaker '{name}' is held open by an operator; `recovery breakers auto {name}` gives it free")
            if view.state in _SHUT:
                raise StepFailed(f"breaker '{name}' opened again while it was probed: {view.reason or 'a caller failed'}")
            if probes:
                time.sleep(options.interval)
            context.guard()
            try:
                self._require_good(checks, f"breaker '{name}' opens again")
            except StepFailed:
                self._breakers.record(name, ok=False)
                raise
            view = self._breakers.record(name, ok=True)
        if _lets_through(view):
            return {**_told(view), "probes": options.probes}
        raise StepFailed(f"breaker '{name}' is {view.state} after {options.probes} good probes; raise 'probes' or lower its threshold")


_SHUT = frozenset({BreakerState.OPEN, BreakerState.REPAIRING})


def _lets_through(view: BreakerView) -> bool:
    """Say whether the probes have done their part: it is closed, lets calls in by and by, or stands in nobody's way anyway."""
    return view.state in {BreakerState.CLOSED, BreakerState.DISABLED, BreakerState.METRICS_ONLY} or view.percent is not None


def _told(view: BreakerView) -> JsonObject:
    return {"breaker": view.name, "state": view.state, "successes": view.successes, "trips": view.trips}
