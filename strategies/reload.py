"""Strategy `reload`: make the running instance read its configuration again, without an interruption."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict

from recovery.config.base import Seconds
from recovery.config.durations import TakesTime
from recovery.config.fleet import ServiceDeclaration
from recovery.models import Action, Category, JsonObject
from recovery.ports import AttemptContext, StepWork
from strategies.collaborators import Collaborators
from strategies.retrying import BRIEFLY_ON_DRIVER_ERRORS


class ReloadOptions(BaseModel):
    """`[services.X.remedies.reload]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: Annotated[Seconds, TakesTime()] = 60.0
    """Seconds the driver may take."""


class Reload:
    """Ask the driver to reload. Repeating a reload does no harm, so a lost one is simply run again."""

    name = "reload"
    queue = "restart"
    priority = 80
    typical_seconds = 1.0
    options: type[BaseModel] = ReloadOptions
    lapses = True

    def __init__(self, collaborators: Collaborators) -> None:
        self._collaborators = collaborators

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services whose driver is missing, unusable here or unable to reload."""
        return self._collaborators.no_way_to("reload", service)

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the one step; nothing takes a reload back."""
        if action is Action.REVERT:
            return ()
        driver = self._collaborators.driver_of(context.service)

        def run(_intent: JsonObject) -> JsonObject:
            context.guard()
            return driver.reload()

        options = ReloadOptions.model_validate(context.service.remedies.get(self.name, {}))
        return (StepWork("reload", run, timeout=options.timeout, retry=BRIEFLY_ON_DRIVER_ERRORS),)

    def verify_with(self, _service: ServiceDeclaration, _action: Action) -> tuple[str, ...] | None:
        """Verify with all of the service's own checks."""
        return None

    def mitigates_for(self, _service: ServiceDeclaration) -> float | None:
        """Resolve: a verified reload needs no follow-up."""
        return None
