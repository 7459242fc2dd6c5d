"""What stays in place after a remedy: mitigations, degradations, switched endpoints and breakers."""

from dataclasses import dataclass, field
from datetime import datetime

from recovery.models.words import BreakerState, Level


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
