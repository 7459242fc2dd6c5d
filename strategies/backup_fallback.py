"""Strategy `backup_fallback`: restore data from the newest backup that verifies, or send callers to a healthy backup endpoint."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recovery.config.base import Seconds
from recovery.config.durations import TakesTime
from recovery.config.fleet import ServiceDeclaration
from recovery.models import Action, Category, JsonObject, ServiceName
from recovery.ports import AttemptContext, StepWork
from strategies.backup import restore, switch
from strategies.backup.candidates import DataKind, Demands
from strategies.collaborators import Collaborators
from strategies.instance import ready_step, start_step, start_what_ran, stop_step
from strategies.spelling import CheckName, Url


class BackupEndpoint(BaseModel):
    """One place that callers can be sent to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ServiceName
    url: Annotated[Url, Field(repr=False)]
    check: CheckName | None = None
    """Check (`service.check`) that must pass before callers are sent there; default: its host accepts TCP connections."""


class BackupFallbackOptions(BaseModel):
    """`[services.X.remedies.backup_fallback]`. Give `path` and `backups` to restore data, or `endpoints` to switch callers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path | None = None
    """The data: an SQLite file, any file, or a folder."""
    backups: Path | None = None
    """Folder of the backups, or a path whose last part has `*` or `?`."""
    kind: DataKind = "sqlite"
    checksum_required: bool = False
    """True: a backup without `<backup>.sha256` does not count as verified. Where the file exists it must always match."""
    max_age: Seconds | None = None
    """Seconds; an older backup is not used. Default: any age."""
    stop_service: bool = False
    """True: the service is stopped by its driver before the swap and started after it."""
    stop_timeout: Annotated[Seconds, TakesTime()] = 10.0
    """Seconds the service gets to end by itself before it is killed."""
    ready_timeout: Annotated[Seconds, TakesTime()] = 15.0
    """Seconds the service gets until its declared ports accept again."""
    timeout: Annotated[Seconds, TakesTime()] = 180.0
    """Seconds that reading and copying the data may take."""
    endpoints: tuple[BackupEndpoint, ...] = ()
    """Backups in order of preference."""
    ttl: Seconds = 3_600.0
    """Seconds that a switched endpoint counts as a mitigation, until the primary is tried again."""
    verify: tuple[CheckName, ...] = ()
    """Checks (`service.check`) that must pass after a switch, such as those of the callers; default: none."""

    @model_validator(mode="after")
    def _one_mode(self) -> Self:
        if bool(self.path) != bool(self.backups):
            raise ValueError("'path' and 'backups' belong together")
        if bool(self.path) == bool(self.endpoints):
            raise ValueError("give either 'path' and 'backups' to restore data, or 'endpoints' to switch callers")
        return self


class BackupFallback:
    """Resolve by restoring data, or mitigate by switching an endpoint; the options say which."""

    name = "backup_fallback"
    queue = "backup_fallback"
    priority = 50
    typical_seconds = 5.0
    options: type[BaseModel] = BackupFallbackOptions
    lapses = False

    def __init__(self, collaborators: Collaborators) -> None:
        self._collaborators = collaborators

    def refuses(self, service: ServiceDeclaration, _category: Category) -> str | None:
        """Refuse services without a declared backup, and those that cannot be stopped although they must be."""
        if self.name not in service.remedies:
            return "the service does not declare the remedy 'backup_fallback'"
        return self._collaborators.no_way_to("restart", service) if self._options(service).stop_service else None

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the steps of the declared mode; a restored file that stays is not taken back, its original is kept beside it."""
        endpoints = self._collaborators.endpoints
        if action is Action.REVERT and self.name not in context.service.remedies:
            return (switch.back_step(context, endpoints),)  # it was declared when callers were switched
        options = self._options(context.service)
        if options.endpoints:
            if action is Action.REVERT:
                return (switch.back_step(context, endpoints),)
            choices = [switch.Choice(endpoint.name, endpoint.url, endpoint.check) for endpoint in options.endpoints]
            return (switch.choose_step(choices, self._collaborators.probe), switch.switch_step(context, choices, endpoints))
        return () if action is Action.REVERT else self._restore(context, options)

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Verify restored data with the service's own checks, a switch with the declared ones (the primary is still sick)."""
        if action is Action.REVERT:
            return None
        options = self._options(service)
        return options.verify if options.endpoints else None

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the TTL of a switched endpoint, None for restored data and where nothing is declared any more."""
        if self.name not in service.remedies:
            return None
        options = self._options(service)
        return options.ttl if options.endpoints else None

    def _options(self, service: ServiceDeclaration) -> BackupFallbackOptions:
        return BackupFallbackOptions.model_validate(service.remedies.get(self.name, {}))

    def _restore(self, context: AttemptContext, options: BackupFallbackOptions) -> Sequence[StepWork]:
        """Copy and verify first, touch the original last: a full disk or a bad copy leaves everything as it was."""
        assert options.path is not None
        assert options.backups is not None
        demands = Demands(options.kind, options.checksum_required, options.max_age)
        work = restore.Restore(context, options.path.resolve(), options.backups, demands, options.timeout)
        prepared = (work.choose_step(), work.stage_step())
        swapped = (work.set_aside_step(), work.restore_step())
        if not options.stop_service:
            return (*prepared, *swapped)
        driver = self._collaborators.driver_of(context.service)

        def stop_again(_intent: JsonObject, result: JsonObject | None) -> StepWork | None:
            return stop_step(context, driver, options.stop_timeout) if result is not None else None

        stopped = replace(
            stop_step(context, driver, options.stop_timeout), undo=lambda intent, _result: start_what_ran(context, driver, intent)
        )
        started = replace(start_step(context, driver), undo=stop_again)  # what runs on restored data must not keep them open
        return (*prepared, stopped, *swapped, started, ready_step(context, driver, options.ready_timeout))
