"""Strategy `restart`: put a fresh instance in the place of a dead, hung or poisoned one."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from recovery.config.base import Seconds
from recovery.config.durations import TakesTime
from recovery.config.fleet import ServiceDeclaration
from recovery.models import Action, Category
from recovery.ports import AttemptContext, StepWork
from strategies.collaborators import Collaborators
from strategies.instance import replacement


class RestartOptions(BaseModel):
    """`[services.X.remedies.restart]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stop_timeout: Annotated[Seconds, TakesTime()] = 10.0
    """Seconds the instance gets to end by itself before it is killed."""
    ready_timeout: Annotated[Seconds, TakesTime()] = 15.0
    """Seconds the new instance gets until its declared ports accept."""


class Restart:
    """Stop gracefully, by force after a while; start; wait until it is ready."""

    name = "restart"
    queue = "restart"
    priority = 100
    typical_seconds = 3.0
    options: type[BaseModel] = RestartOptions
    lapses = True

    def __init__(self, collaborators: Collaborators) -> None:
        self._collaborators = collaborators

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services whose driver is missing, unusable here or unable to restart."""
        return self._collaborators.no_way_to("restart", service)

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return stop, start, ready (or restart, ready); nothing takes a restart back, only one that stopped in the middle."""
        if action is Action.REVERT:
            return ()
        options = RestartOptions.model_validate(context.service.remedies.get(self.name, {}))
        driver = self._collaborators.driver_of(context.service)
        return replacement(context, driver, options.stop_timeout, options.ready_timeout)

    def verify_with(self, _service: ServiceDeclaration, _action: Action) -> tuple[str, ...] | None:
        """Verify with all of the service's own checks."""
        return None

    def mitigates_for(self, _service: ServiceDeclaration) -> float | None:
        """Resolve: a verified restart needs no follow-up."""
        return None
