"""Strategy `degrade`: let a service go on without what is broken. It mitigates, never resolves, and always ends by itself."""

from collections.abc import Sequence

from pydantic import BaseModel, Field, field_validator

from recovery.config.degradation import Percent
from recovery.config.fleet import ServiceDeclaration
from recovery.models import Action, Category, Level
from recovery.ports import AttemptContext, StepWork
from strategies.collaborators import Collaborators
from strategies.degradations import Limited, degradation_of, end_step, put_step
from strategies.spelling import CapabilityName, FeatureName


class DegradeOptions(Limited):
    """`[services.X.remedies.degrade]`."""

    level: Level = Level.PARTIAL
    features: tuple[FeatureName, ...] = ()
    """Features that are switched off, besides those that the declarations switch off at this level."""
    capabilities: dict[CapabilityName, Percent] = Field(default_factory=dict)
    """Capability name -> percentage that is left; goes before what is declared for this level."""

    @field_validator("features")
    @classmethod
    def _named_once(cls, features: tuple[str, ...]) -> tuple[str, ...]:
        twice = next((name for place, name in enumerate(features) if name in features[:place]), None)
        if twice is not None:
            raise ValueError(f"'{twice}' is named twice")
        return features

    @field_validator("level")
    @classmethod
    def _degrades(cls, level: Level) -> Level:
        if level is Level.NORMAL:
            raise ValueError("'normal' degrades nothing; choose partial, limited, minimal or emergency")
        return level


class Degrade:
    """Put a degradation in force where services read it, and end it again for `REVERT`."""

    name = "degrade"
    queue = "degrade"
    priority = 40
    typical_seconds = 1.0
    options: type[BaseModel] = DegradeOptions
    lapses = True

    def __init__(self, collaborators: Collaborators) -> None:
        self._degradations = collaborators.degradations

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services that do not declare how they degrade: nobody would read the flags."""
        return None if self.name in service.remedies else "the service does not declare the remedy 'degrade'"

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the one step that degrades, or restores."""
        if action is Action.REVERT:
            return (end_step(context, self._degradations, self.name),)
        options = self._options(context.service)
        wanted = degradation_of(context, self.name, options, options.level, options.features, options.capabilities)
        return (put_step(context, self._degradations, "degrade", self.name, options.ttl, wanted),)

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Verify the degradation with the declared checks only (the service itself is still sick), a restore with its own."""
        return None if action is Action.REVERT else self._options(service).verify

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the TTL."""
        return self._options(service).ttl

    def _options(self, service: ServiceDeclaration) -> DegradeOptions:
        return DegradeOptions.model_validate(service.remedies.get(self.name, {}))
