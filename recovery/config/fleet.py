"""The declared fleet as frozen data. Options of one check kind, driver or strategy stay tables here; their owner validates them."""

import contextlib
from datetime import time
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from recovery.config.base import Declaration, Seconds, SecondsOrZero
from recovery.config.degradation import CapabilityDeclaration, DegradationRule, FeatureDeclaration
from recovery.config.retries import RetryDeclaration
from recovery.errors import nearest
from recovery.models import Autonomy, Category, JsonObject, ServiceName, Severity

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _web_address(url: str) -> str:
    """Refuse what is no URL; what was written is not repeated, because its path may be a secret."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        if parts.scheme in {"http", "https"} and parts.hostname:
            return url
    raise ValueError("must be a URL that begins with http:// or https://")


WebAddress = Annotated[str, AfterValidator(_web_address)]


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
    attempt_timeout: Annotated[float, Field(ge=1, le=3_600)] = 240.0
    """Soft limit: seconds that one worker may spend on an attempt; then the running step is interrupted and what was done rolled back."""
    attempt_grace: Annotated[float, Field(ge=1, le=3_600)] = 60.0
    """Seconds from the soft to the hard limit, for the rollback; then the worker process is killed and another one goes on."""
    retry: dict[str, RetryDeclaration] = Field(default_factory=dict)
    """Strategy name -> how its steps are tried again, instead of what the strategy says."""
    dry_run: bool = False
    autonomy: Autonomy | None = None
    """`observe`, `suggest`, `approve` or `auto`; default: the platform's."""
    approve: tuple[str, ...] = ()
    """Strategies that need somebody's yes on this service, also where the others run by themselves."""
    act_from: Severity | None = None
    """Failures less severe than this are recorded and left alone; default: the platform's."""
    labels: dict[str, str] = Field(default_factory=dict)

    @property
    def hard_limit(self) -> float:
        """Seconds after which the worker process of an attempt is killed."""
        return self.attempt_timeout + self.attempt_grace

    def check(self, name: str) -> CheckDeclaration | None:
        """Return the check called `name`, or None."""
        return next((check for check in self.checks if check.name == name), None)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"'{name[:40]}' is no known time zone{nearest(name, available_timezones())}") from None
    return name


class BudgetDeclaration(Declaration):
    """`[platform.budget]`: how much may be recovered at once, so that a cure for many is not worse than the illness.

    Only automatic and scheduled recoveries wait for it; those begun by hand count, and pass.
    """

    percent: Annotated[float, Field(gt=0, le=100)] = 25.0
    """Percent of the declared services that may be recovering at once; at least one may."""
    per_window: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Recoveries that may begin within `window`; default: any number."""
    window: Seconds = 3_600.0
    """Seconds."""
    storm_at: Annotated[float, Field(gt=0, le=100)] = 50.0
    """Percent of the services with an open recovery at once, and at least `storm_min` of them, that make a storm."""
    storm_min: Annotated[int, Field(ge=2, le=1_000_000)] = 5
    storm_percent: Annotated[float, Field(gt=0, le=100)] = 10.0
    """Takes the place of `percent` in a storm: what hits everybody at once has a common cause that no restart cures."""


class MaintenanceDeclaration(Declaration):
    """`[[maintenance]]`: a window in which automatic recoveries wait, once (`starts`, `ends`) or again and again (`at`, `duration`)."""

    name: ServiceName
    reason: str = ""
    services: tuple[ServiceName, ...] = ()
    """Empty together with `labels`: every service."""
    labels: dict[str, str] = Field(default_factory=dict)
    """A service that bears all of these is covered, too."""
    starts: AwareDatetime | None = None
    ends: AwareDatetime | None = None
    at: time | None = None
    """Time of day at which it begins, like `"02:00"`."""
    duration: Annotated[float, Field(gt=0, le=86_400 * 7)] | None = None
    """Seconds it lasts from `at`, up to a week."""
    days: tuple[Day, ...] = DAYS
    """Days on which it begins: `mon` to `sun`. Default: every day."""
    timezone: Annotated[str, AfterValidator(_known_zone)] = "UTC"
    """Whose time of day `at` is, like `Europe/Berlin`."""

    @model_validator(mode="after")
    def _needs_a_time(self) -> Self:
        if (self.starts is None) != (self.ends is None):
            raise ValueError("starts and ends go together")
        if (self.at is None) != (self.duration is None):
            raise ValueError("at and duration go together")
        if (self.starts is None) == (self.at is None):
            raise ValueError("give either starts and ends (once), or at and duration (again and again)")
        if self.starts and self.ends and self.ends <= self.starts:
            raise ValueError("ends must be later than starts")
        if self.at and self.at.tzinfo:
            raise ValueError("at is a time of day without an offset; write the zone as timezone")
        return self


def _somebody(name: str) -> str:
    if not name.strip():
        raise ValueError("must be a person's name, not an empty text; without `approvers` anybody may answer")
    return name


class PlatformDeclaration(Declaration):
    """Settings of the platform as a whole."""

    dry_run: bool = False
    """Decide and record, but touch nothing."""
    autonomy: Autonomy = Autonomy.AUTO
    """How far the platform may go on its own, where the service does not say."""
    act_from: Severity = Severity.LOW
    """Failures less severe than this are recorded and left alone, where the service does not say."""
    approval_timeout: Seconds = 900.0
    """Seconds until a question for approval that nobody answered lapses."""
    approvers: tuple[Annotated[str, AfterValidator(_somebody)], ...] = ()
    """Who may answer; empty: anybody."""
    max_concurrent_recoveries: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Recoveries that may be in progress at once, on top of the budget's percentage."""
    budget: BudgetDeclaration = Field(default_factory=BudgetDeclaration)
    flap_high: Annotated[float, Field(ge=0, le=101)] = 30.0
    """Change rate in percent from which a service counts as flapping (Icinga's default); 101: never."""
    flap_low: Annotated[float, Field(ge=0, le=100)] = 25.0
    """Change rate in percent below which it no longer does."""
    dependency_patience: SecondsOrZero = 300.0
    """Seconds that a service is held while something it depends on is down; then it is worth a try of its own."""
    ineffective_after: Annotated[int, Field(ge=1, le=1_000)] = 2
    """Times in a row that a strategy did not help against a failure of a service until it is passed over ..."""
    ineffective_memory: SecondsOrZero = 3_600.0
    """... and for how many seconds, unless the service was stable in between."""
    blind_after: Annotated[float, Field(ge=5, le=86_400)] = 30.0
    """Seconds beyond its interval without any sweep after which what the checks said is too old to act on."""
    ping_url: WebAddress | None = None
    """Asked with GET every `ping_every` seconds while all is well; whoever listens there alarms when it stops (dead man's switch)."""
    ping_every: Annotated[float, Field(ge=10, le=86_400)] = 60.0
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

    @model_validator(mode="after")
    def _ends_flapping_below_its_begin(self) -> Self:
        if self.flap_low > self.flap_high:
            low, high = (f"{name} ({getattr(self, name):g})" for name in ("flap_low", "flap_high"))
            raise ValueError(f"{low} must not be above {high}: flapping begins at the one and ends below the other, so set both")
        return self


class Fleet(Declaration):
    """All that `recovery.toml` declares, with a version that changes when its text does."""

    version: str
    """First 12 hex digits of the SHA-256 of the text."""
    platform: PlatformDeclaration = Field(default_factory=PlatformDeclaration)
    services: dict[str, ServiceDeclaration] = Field(default_factory=dict)
    maintenance: tuple[MaintenanceDeclaration, ...] = ()
    features: dict[str, FeatureDeclaration] = Field(default_factory=dict)
    capabilities: dict[str, CapabilityDeclaration] = Field(default_factory=dict)
    degradation: tuple[DegradationRule, ...] = ()

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

    def autonomy(self, service: str) -> Autonomy:
        """Return how far the platform may go on its own for `service`."""
        return self.services[service].autonomy or self.platform.autonomy

    def act_from(self, service: str) -> Severity:
        """Return the least severity that is acted upon."""
        return self.services[service].act_from or self.platform.act_from

    def roots(self, name: str) -> tuple[str, ...]:
        """Return everything that `name` depends on, directly or not, nearest first."""
        found: dict[str, None] = {}
        ahead = list(self.services[name].depends_on)
        while ahead:
            nearest = ahead.pop(0)
            if nearest not in found:
                found[nearest] = None
                ahead.extend(self.services[nearest].depends_on if nearest in self.services else ())
        return tuple(found)
