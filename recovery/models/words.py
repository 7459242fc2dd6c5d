"""The vocabulary: categories, states, outcomes and the other closed sets of words, and ids and times."""

import uuid
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import JsonValue, StringConstraints

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
        return _RANKS[self]


_RANKS = {severity: rank for rank, severity in enumerate(Severity)}


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


class Autonomy(StrEnum):
    """How far the platform may go on its own for a service; each rung includes the ones before it."""

    OBSERVE = "observe"
    """Watch and record what would be done."""
    SUGGEST = "suggest"
    """Say which command a person should run."""
    APPROVE = "approve"
    """Ask first; act when somebody says yes."""
    AUTO = "auto"
    """Act."""


class SilenceKind(StrEnum):
    """Why automatic recoveries wait."""

    KILL_SWITCH = "kill_switch"
    """Everything waits until somebody lifts it."""
    MAINTENANCE = "maintenance"
    """A window declared in `recovery.toml`."""
    SILENCE = "silence"
    """Asked for by a person, for some services, for a while."""
    DEPLOY = "deploy"
    """A new version is being rolled out."""


class Answer(StrEnum):
    """What somebody said to a request for approval."""

    APPROVED = "approved"
    REJECTED = "rejected"


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
    """Where a circuit breaker stands, as people see it."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    REPAIRING = "repairing"
    """Open, and a recovery is at work: callers do not probe meanwhile."""
    FORCED_OPEN = "forced_open"
    DISABLED = "disabled"
    """All pass, and nothing is counted."""
    METRICS_ONLY = "metrics_only"
    """All pass, and everything is counted."""


class BreakerOrder(StrEnum):
    """What an operator can say to a circuit breaker: a mode, or to close now."""

    RESET = "reset"
    AUTO = "auto"
    METRICS_ONLY = "metrics_only"
    DISABLED = "disabled"
    FORCED_OPEN = "forced_open"


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
