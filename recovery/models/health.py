"""What is known about the health of services: samples, running verdicts and service states."""

from dataclasses import dataclass, field
from datetime import datetime

from recovery.models.words import Category, FailureType, JsonObject, Status


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
    recent: str = ""
    """Whether all checks passed (`1`) or not (`0`) at the last looks, oldest first, at most 21."""
    change_rate: float = 0.0
    """How often that changed: weighted percent, 0 to 100."""
    flapping: bool = False
