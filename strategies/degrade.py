"""Strategy `degrade`: let a service go on without what is broken. It mitigates, never resolves, and always ends by itself."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from recovery.config.base import Seconds
from recovery.config.fleet import ServiceDeclaration
from recovery.errors import StepFailed
from recovery.models import Action, Category, Degradation, JsonObject, Level
from recovery.ports import AttemptContext, StepWork
from strategies.collaborators import Collaborators
from strategies.spelling import CheckName


class DegradeOptions(BaseModel):
    """`[services.X.remedies.degrade]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Level = Level.PARTIAL
    features: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    """Features that are switched off."""
    capabilities: dict[str, Annotated[int, Field(ge=0, le=100)]] = Field(default_factory=dict)
    """Capability name -> percentage that is left."""
    ttl: Seconds = 900.0
    """Seconds after which it ends by itself, also when nobody is left to end it."""
    reason: str = Field(default="", max_length=500)
    """Shown to users; default: the recovery's message."""
    verify: tuple[CheckName, ...] = ()
    """Checks (`service.check`) that must pass while degraded, such as those of the services that depend on this one; default: none."""

    @field_validator("level")
    @classmethod
    def _degrades(cls, level: Level) -> Level:
        if level is Level.NORMAL:
            raise ValueError("'normal' degrades nothing; choose partial, limited, minimal or emergency")
        return level


class Degrade:
    """Put a degradation in force where services read it, and clear it again for `REVERT`."""

    name = "degrade"
    queue = "degrade"
    priority = 40
    typical_seconds = 1.0
    options: type[BaseModel] = DegradeOptions
    lapses = True

    def __init__(self, collaborators: Collaborators) -> None:
        self._degradations = collaborators.degradations
        self._clock = collaborators.clock

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services that do not declare how they degrade: nobody would read the flags."""
        return None if self.name in service.remedies else "the service does not declare the remedy 'degrade'"

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the one step that degrades, or restores."""
        return (self._restore(context) if action is Action.REVERT else self._degrade(context),)

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Verify the degradation with the declared checks only (the service itself is still sick), a restore with its own."""
        return None if action is Action.REVERT else self._options(service).verify

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the TTL."""
        return self._options(service).ttl

    def _options(self, service: ServiceDeclaration) -> DegradeOptions:
        return DegradeOptions.model_validate(service.remedies.get(self.name, {}))

    def _degrade(self, context: AttemptContext) -> StepWork:
        options, service = self._options(context.service), context.service.name

        def prepare() -> JsonObject:
            before, now = self._degradations.current(service), self._clock()
            until = now + timedelta(seconds=options.ttl)
            return {"level_before": before.level if before else Level.NORMAL, "since": now.isoformat(), "until": until.isoformat()}

        def run(intent: JsonObject) -> JsonObject:
            wanted = Degradation(
                service=service,
                level=options.level,
                since=datetime.fromisoformat(str(intent["since"])),
                until=datetime.fromisoformat(str(intent["until"])),
                features_off=options.features,
                capabilities=options.capabilities,
                reason=options.reason or context.recovery.message,
                recovery_id=context.recovery.id,
                fence=context.fence,
            )
            context.guard()
            if not self._degradations.put(wanted):
                raise StepFailed(f"a newer degradation of '{service}' is in force; this one came too late")
            return _told(wanted)

        def reconcile(_intent: JsonObject) -> JsonObject | None:
            current = self._degradations.current(service)
            return _told(current) if current and current.recovery_id == context.recovery.id else None

        def undo(_intent: JsonObject, result: JsonObject | None) -> StepWork | None:
            return None if result is None else self._restore(context)

        return StepWork("degrade", run, prepare, reconcile, undo=undo)

    def _restore(self, context: AttemptContext) -> StepWork:
        service = context.service.name

        def prepare() -> JsonObject:
            before = self._degradations.current(service)
            return {"before": _told(before) if before else None}

        def run(_intent: JsonObject) -> JsonObject:
            context.guard()
            if not self._degradations.clear(service, context.fence) and self._degradations.current(service):
                raise StepFailed(f"a newer degradation of '{service}' is in force; it was left alone")
            return {"level": Level.NORMAL}

        def reconcile(_intent: JsonObject) -> JsonObject | None:
            return None if self._degradations.current(service) else {"level": Level.NORMAL}

        return StepWork("restore", run, prepare, reconcile)


def _told(degradation: Degradation) -> JsonObject:
    return {
        "level": degradation.level,
        "features_off": list(degradation.features_off),
        "capabilities": dict(degradation.capabilities),
        "until": degradation.until.isoformat(),
    }
