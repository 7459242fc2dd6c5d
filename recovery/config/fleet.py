"""The declared fleet as frozen data. Options of one check kind, driver or strategy stay tables here; their owner validates them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from recovery.models import Category, JsonObject, ServiceName, Severity

Seconds = Annotated[float, Field(gt=0, le=86_400 * 31)]
"""A duration above 0 and up to 31 days."""
SecondsOrZero = Annotated[float, Field(ge=0, le=86_400 * 31)]
"""A duration from 0 to 31 days."""


class Declaration(BaseModel):
    """Something written in `recovery.toml`; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class CheckDeclaration(Declaration):
    """One health check of a service. Keys beyond these belong to the check's kind and land in `options`."""

    name: ServiceName
    """Unique within the service; default: the kind."""
    kind: str = Field(alias="type")
    """`http`, `tcp`, `redis`, `sql`, `process`, `command`, `heartbeat`, `cache`, `memory`, `cpu`, `disk`, `python`."""
    interval: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """Seconds between probes, from 1. Default 60 (system metrics 30)."""
    timeout: Seconds = 5.0
    """Seconds one probe may take; at most `interval`. Default: 5 or the interval, whichever is less."""
    fall: Annotated[int, Field(ge=1, le=100)] = 3
    """Failures in a row until the check counts as unhealthy."""
    rise: Annotated[int, Field(ge=1, le=100)] = 2
    """Successes in a row until it counts as healthy again."""
    start_grace: SecondsOrZero = 0.0
    """Failures within this time after a start do not count."""
    jitter: SecondsOrZero = 0.0
    """Spread: each probe starts at a fixed offset of 0 to `jitter` seconds, drawn from its name."""
    category: Category | None = None
    """What a failure of this check means; default: chosen by the kind."""
    severity: Severity = Severity.HIGH
    options: JsonObject = Field(default_factory=dict)


class DriverDeclaration(Declaration):
    """How a remedy reaches the real thing. Keys beyond `type` belong to the driver and land in `options`."""

    kind: str = Field(alias="type")
    options: JsonObject = Field(default_factory=dict)


class ServiceDeclaration(Declaration):
    """One service: how to see that it is sick, and what may be done about it."""

    name: ServiceName
    description: str = ""
    managed: bool = True
    """False: watched, never touched."""
    depends_on: tuple[ServiceName, ...] = ()
    """Services that must be healthy before this one is worth recovering."""
    checks: tuple[CheckDeclaration, ...] = ()
    driver: DriverDeclaration | None = None
    remedies: dict[str, JsonObject] = Field(default_factory=dict)
    """Strategy name -> its options. `restart` and `reload` need no entry when there is a driver."""
    plan: dict[Category, tuple[str, ...]] = Field(default_factory=dict)
    """Category -> strategies in order, instead of the default plan."""
    cooldown: dict[str, SecondsOrZero] = Field(default_factory=dict)
    """Strategy name -> seconds between two runs of it on this service."""
    max_attempts: Annotated[int, Field(ge=1, le=1_000)] | None = None
    """Runs of one strategy before it is given up until the service was stable; default: the platform's."""
    healthy_for: SecondsOrZero = 1.0
    """Seconds that all checks must pass in a row before a recovery counts as verified."""
    verify_timeout: Seconds = 20.0
    """Seconds after which an unverified remedy counts as ineffective."""
    dry_run: bool = False
    labels: dict[str, str] = Field(default_factory=dict)

    def check(self, name: str) -> CheckDeclaration | None:
        """Return the check called `name`, or None."""
        return next((check for check in self.checks if check.name == name), None)


class PlatformDeclaration(Declaration):
    """Settings of the platform as a whole."""

    dry_run: bool = False
    """Decide and record, but touch nothing."""
    lease: Annotated[float, Field(ge=1, le=600)] = 10.0
    """Seconds a worker's claim on a service lives without renewal."""
    cooldown: SecondsOrZero = 60.0
    """Seconds between two runs of one strategy on one service, where the service does not say."""
    max_attempts: Annotated[int, Field(ge=1, le=1_000)] = 3
    """Runs of one strategy on one service before it is given up until the service was stable for `stable_after`."""
    stable_after: Seconds = 300.0
    """Seconds of health after which attempts no longer count."""
    max_runs: Annotated[int, Field(ge=1, le=100)] = 3
    """Workers that one attempt may lose before it is parked as failed."""
    retry_failed_after: Seconds = 60.0
    """Seconds until a service whose recovery failed or was suppressed may open another one for the same failure."""
    shards: Annotated[int, Field(ge=1, le=1_000)] = 1
    """Parts that the checks of one interval are split into."""
    keep_samples: Seconds = 86_400.0
    """Seconds that check samples are kept."""
    keep_history: Seconds = 86_400.0 * 30
    """Seconds that closed recoveries and their rows are kept."""


class Fleet(Declaration):
    """All that `recovery.toml` declares, with a version that changes when its text does."""

    version: str
    """First 12 hex digits of the SHA-256 of the text."""
    platform: PlatformDeclaration = Field(default_factory=PlatformDeclaration)
    services: dict[str, ServiceDeclaration] = Field(default_factory=dict)

    def intervals(self) -> tuple[float, ...]:
        """Return every interval that some check uses, in rising order."""
        return tuple(sorted({check.interval for service in self.services.values() for check in service.checks}))

    def dependents(self, name: str) -> tuple[str, ...]:
        """Return the services that directly depend on `name`."""
        return tuple(other.name for other in self.services.values() if name in other.depends_on)

    def cooldown(self, service: str, strategy: str) -> float:
        """Return the seconds that must lie between two runs of `strategy` on `service`."""
        return self.services[service].cooldown.get(strategy, self.platform.cooldown)

    def max_attempts(self, service: str) -> int:
        """Return how often one strategy may run on `service` before it is given up."""
        return self.services[service].max_attempts or self.platform.max_attempts
