"""The words everything shares: failures, plans, recoveries, attempts, steps, decisions, events, samples, status.

All of them are frozen. Times are aware UTC datetimes, durations are seconds.
"""

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

JsonObject = dict[str, JsonValue]
"""What goes into a JSON column or a message."""

ServiceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]
"""1 to 100 letters, digits, `_`, `.`, `-`; starts with a letter or digit."""


class Category(StrEnum):
    """What is broken; the plan is chosen by it."""

    SERVICE_UNAVAILABLE = "service_unavailable"
    CACHE_CORRUPTION = "cache_corruption"
    DATA_INCONSISTENCY = "data_inconsistency"
    CIRCUIT_OPEN = "circuit_open"
    DATABASE = "database"
    CACHE = "cache"
    QUEUE_BACKLOG = "queue_backlog"
    NETWORK = "network"
    RATE_LIMITED = "rate_limited"
    MEMORY_PRESSURE = "memory_pressure"
    CPU_PRESSURE = "cpu_pressure"
    DISK_PRESSURE = "disk_pressure"
    SLOW_RESPONSES = "slow_responses"
    HIGH_ERROR_RATE = "high_error_rate"
    UNKNOWN = "unknown"


class FailureType(StrEnum):
    """How a failure showed itself."""

    TIMEOUT = "timeout"
    ERROR = "error"
    RESOURCE_LIMIT = "resource_limit"
    PANIC = "panic"
    HEALTH_CHECK = "health_check"
    INITIALIZATION = "initialization"
    HEARTBEAT = "heartbeat"
    ANOMALY = "anomaly"


class Severity(StrEnum):
    """How bad it is; orders queues and alerts."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @classmethod
    def _missing_(cls, value: object) -> "Severity | None":
        """Map the outside words `warning` and `info` to ours."""
        return {"warning": cls.MEDIUM, "info": cls.LOW}.get(str(value).lower())

    @property
    def rank(self) -> int:
        """0 for the most severe, 3 for the least; smaller is more urgent."""
        return list(Severity).index(self)


class Kind(StrEnum):
    """Who asked for a recovery."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    SCHEDULED = "scheduled"
    EMERGENCY = "emergency"


class RecoveryState(StrEnum):
    """Where a recovery stands."""

    PENDING = "pending"
    AWAITING_APPROVAL = "awaiting_approval"
    IN_PROGRESS = "in_progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPPRESSED = "suppressed"

    @property
    def is_open(self) -> bool:
        """Say whether something may still happen."""
        return self in OPEN_STATES


OPEN_STATES = frozenset({RecoveryState.PENDING, RecoveryState.AWAITING_APPROVAL, RecoveryState.IN_PROGRESS})


class Outcome(StrEnum):
    """What a recovery or an attempt achieved."""

    RESOLVED = "resolved"
    """Verified healthy."""
    MITIGATED = "mitigated"
    """Degraded or on a backup, verified."""
    INEFFECTIVE = "ineffective"
    """Acted, still sick."""
    FAILED = "failed"
    """Could not act, or broke while acting."""
    UNKNOWN = "unknown"


class AttemptState(StrEnum):
    """Where an attempt stands."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    SKIPPED = "skipped"


class StepState(StrEnum):
    """Where a journaled step stands."""

    STARTED = "started"
    FINISHED = "finished"
    FAILED = "failed"


class Status(StrEnum):
    """How a service (or one of its checks) is."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


class Choice(StrEnum):
    """What a decision came to."""

    ACT = "act"
    SKIP = "skip"
    DELAY = "delay"
    MERGE = "merge"
    SUPPRESS = "suppress"
    ESCALATE = "escalate"


class Level(StrEnum):
    """How far a service is degraded, from not at all to bare survival."""

    NORMAL = "normal"
    PARTIAL = "partial"
    LIMITED = "limited"
    MINIMAL = "minimal"
    EMERGENCY = "emergency"


class BreakerState(StrEnum):
    """Where a circuit breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Action(StrEnum):
    """Which way a strategy is run: put the remedy in place, or take it away again."""

    APPLY = "apply"
    REVERT = "revert"


def new_id() -> str:
    """Return a fresh random id (UUID4, 36 characters)."""
    return str(uuid.uuid4())


def utcnow() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)


def fingerprint_of(service: str, category: str) -> str:
    """Return the fingerprint that makes failures of one service and category equal."""
    return hashlib.sha256(f"{service}\0{category}".encode()).hexdigest()[:32]


MAX_DETAILS = 64_000
"""Characters of a failure's details, as JSON."""


class Failure(BaseModel):
    """One report that a service is broken. It can choose what is done, never command it.

    Unknown keys are refused. `service` must be declared in `recovery.toml`; the intake checks that.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(default_factory=new_id, min_length=1, max_length=64)
    """Chosen by the sender; the same id twice is one report."""
    service: ServiceName
    category: Category = Category.UNKNOWN
    type: FailureType = FailureType.ERROR
    severity: Severity = Severity.HIGH
    message: str = Field(default="", max_length=4_000)
    source: str = Field(default="unknown", max_length=200)
    """Who says so: `health`, `client`, `celery`, `cli`, a host name, ..."""
    occurred_at: AwareDatetime = Field(default_factory=utcnow)
    details: JsonObject = Field(default_factory=dict)
    """Up to `MAX_DETAILS` characters of JSON; more is replaced by a note, because the report itself must not get lost."""
    stack: str | None = Field(default=None, max_length=32_000)
    recoverable: bool = True
    fingerprint: str = Field(default="", max_length=64)
    """Equal failures share it; default: service and category."""
    labels: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _bound_details(self) -> Self:
        length = len(json.dumps(self.details))
        if length > MAX_DETAILS:
            object.__setattr__(self, "details", {"truncated": f"{length} characters of details were left out"})
        return self

    @model_validator(mode="after")
    def _fill_fingerprint(self) -> Self:
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", fingerprint_of(self.service, self.category))
        return self


class PlannedAttempt(BaseModel):
    """One strategy in a plan, or a strategy left out with the reason."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    strategy: str
    queue: str
    action: Action = Action.APPLY
    priority: int = 0
    """Larger runs first; follows the order of the plan."""
    why: str = ""


class LeftOut(BaseModel):
    """A strategy that the plan does without, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    strategy: str
    why: str


class Plan(BaseModel):
    """The ordered attempts of a recovery."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    attempts: tuple[PlannedAttempt, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    estimated_seconds: float = 0.0
    """From this service's own history, else the strategies' declared typical times."""
    rollback: tuple[str, ...] = ()
    """Strategies whose effects are undone if everything fails, last first."""
    source: str = "default"
    """Where the order came from: `default`, `service`, `manual`, `restore`."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """The response to one or more equal failures: one row, the truth about it."""

    id: str
    service: str
    fingerprint: str
    category: Category
    severity: Severity
    kind: Kind
    state: RecoveryState
    plan: Plan
    created_at: datetime
    first_evidence_at: datetime
    """When the failure was first seen; recovery time is counted from here."""
    outcome: Outcome | None = None
    attempt: int = 0
    """Number of the current attempt, from 1; 0 before the first."""
    due_at: datetime | None = None
    """When the tick must look again; None once closed."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure_id: str | None = None
    failures: int = 1
    """How many reports were merged into this recovery."""
    last_failure_at: datetime | None = None
    message: str = ""
    reason: str = ""
    """Why it is in this state, in one sentence."""
    quiet_until: datetime | None = None
    """Once closed: equal failures before this moment merge into it instead of opening another one."""
    cancel_requested: bool = False
    dry_run: bool = False
    force: bool = False
    config_version: str = ""
    version: int = 0
    """Rises with every transition; a transition from an older version changes no row."""

    @property
    def recovery_seconds(self) -> float | None:
        """Seconds from first evidence to the end, None while open."""
        return (self.finished_at - self.first_evidence_at).total_seconds() if self.finished_at else None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One strategy run on one service for one recovery."""

    recovery_id: str
    number: int
    service: str
    strategy: str
    queue: str
    action: Action
    state: AttemptState
    created_at: datetime
    kind: Kind = Kind.AUTOMATIC
    """The kind of its recovery; what a person asked for does not count against the attempt cap."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    reason: str = ""
    fence: int = 0
    """Token of the lease it last ran under; 0 before the first."""
    runs: int = 0
    """How many workers took it up; above 1 means that one was lost."""


@dataclass(frozen=True, slots=True)
class Step:
    """One journaled step of an attempt."""

    recovery_id: str
    attempt: int
    position: int
    name: str
    state: StepState
    fence: int
    started_at: datetime
    finished_at: datetime | None = None
    intent: JsonObject = field(default_factory=dict)
    """What was observed before acting; what `reconcile` compares with."""
    result: JsonObject = field(default_factory=dict)
    error: str = ""
    reconciled: bool = False
    """True when a successor found that the step had taken effect."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one holder to act on one service until `until`."""

    service: str
    recovery_id: str
    holder: str
    fence: int
    """Strictly rising per service; a write with an older one changes no row."""
    until: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """One recorded choice: what, by which guard, with which numbers, and when it may act again."""

    service: str
    choice: Choice
    guard: str
    reason: str
    at: datetime
    recovery_id: str | None = None
    strategy: str | None = None
    failure_id: str | None = None
    facts: JsonObject = field(default_factory=dict)
    """The numbers that the guard looked at."""
    until: datetime | None = None
    """May act again at."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for subscribers and the timeline."""

    name: str
    """Like `recovery:started` or `service:recovered`."""
    at: datetime
    service: str | None = None
    recovery_id: str | None = None
    data: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """What one check saw once."""

    service: str
    check: str
    at: datetime
    ok: bool
    latency: float
    """Seconds the check took."""
    message: str = ""
    category: Category = Category.SERVICE_UNAVAILABLE
    """What a failure of this check means."""
    type: FailureType = FailureType.HEALTH_CHECK
    details: JsonObject = field(default_factory=dict)
    """Such as the corrupted keys that a cache check found."""


@dataclass(frozen=True, slots=True)
class CheckState:
    """The running verdict on one check: its status and the counts that move it."""

    service: str
    check: str
    status: Status = Status.UNKNOWN
    failures: int = 0
    """Failures in a row."""
    successes: int = 0
    """Successes in a row."""
    at: datetime | None = None
    first_failure_at: datetime | None = None
    """First failure of the present row of failures."""
    message: str = ""
    category: Category = Category.SERVICE_UNAVAILABLE
    type: FailureType = FailureType.HEALTH_CHECK
    latency: float = 0.0
    details: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What is known about one service right now."""

    service: str
    status: Status = Status.UNKNOWN
    score: int = 100
    """0 (nothing passes) to 100 (every check passes)."""
    since: datetime | None = None
    """Since when it has this status."""
    seen_at: datetime | None = None
    """When a sweep last looked."""
    started_at: datetime | None = None
    """When it was first seen or last started by a remedy; `start_grace` counts from here."""
    stable_since: datetime | None = None
    """Attempts before this moment no longer count against the attempt cap."""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Mitigation:
    """A remedy left in place on a service that is not truly healthy; somebody must take it away again."""

    service: str
    strategy: str
    recovery_id: str
    since: datetime
    until: datetime
    """When it ends by itself."""


@dataclass(frozen=True, slots=True)
class Degradation:
    """What a service does without for a while; services read it through the client's flags."""

    service: str
    level: Level
    since: datetime
    until: datetime
    """It ends by itself then, also when nobody is left to end it."""
    features_off: tuple[str, ...] = ()
    capabilities: dict[str, int] = field(default_factory=dict)
    """Capability name -> percentage left, 0 to 100."""
    reason: str = ""
    recovery_id: str = ""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class BreakerView:
    """One shared circuit breaker as it stands."""

    name: str
    state: BreakerState
    failures: int = 0
    """Failures in the present window."""
    successes: int = 0
    """Successful probes since it went half-open."""
    opened_at: datetime | None = None
    retry_at: datetime | None = None
    """When callers may probe it."""
    trips: int = 0
    """How often it opened."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where callers of a service should go while its primary is not to be used."""

    service: str
    name: str
    url: str
    since: datetime
    recovery_id: str = ""
    fence: int = 0
