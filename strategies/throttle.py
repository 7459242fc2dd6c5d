"""Strategy `throttle`: let a service that is slow or fails do less of its work. It mitigates, never resolves, and always ends by itself."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from recovery.config.fleet import ServiceDeclaration
from recovery.models import Action, Category, Level
from recovery.ports import AttemptContext, StepWork
from strategies.collaborators import Collaborators
from strategies.degradations import Limited, degradation_of, end_step, put_step
from strategies.spelling import CapabilityName


class ThrottleOptions(Limited):
    """`[services.X.remedies.throttle]`."""

    capability: CapabilityName = "requests"
    """The capability that is limited; whoever sends the work asks for it."""
    percent: Annotated[int, Field(ge=0, le=99)] = 50
    """What is left of it."""


class Throttle:
    """Leave a part of one capability, and give it back for `REVERT`."""

    name = "throttle"
    queue = "degrade"
    priority = 45
    typical_seconds = 1.0
    options: type[BaseModel] = ThrottleOptions
    lapses = True

    def __init__(self, collaborators: Collaborators) -> None:
        self._degradations = collaborators.degradations

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services that do not declare it: nobody would ask for the capability."""
        return None if self.name in service.remedies else "the service does not declare the remedy 'throttle'"

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the one step that throttles, or restores."""
        if action is Action.REVERT:
            return (end_step(context, self._degradations, self.name),)
        options = self._options(context.service)
        wanted = degradation_of(context, self.name, options, Level.PARTIAL, (), {options.capability: options.percent})
        return (put_step(context, self._degradations, "throttle", self.name, options.ttl, wanted),)

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Verify with the declared checks only: less load helps in a while, not at once; a restore with all of its own."""
        return None if action is Action.REVERT else self._options(service).verify

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the TTL."""
        return self._options(service).ttl

    def _options(self, service: ServiceDeclaration) -> ThrottleOptions:
        return ThrottleOptions.model_validate(service.remedies.get(self.name, {}))
