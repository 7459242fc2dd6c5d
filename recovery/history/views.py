"""The shapes in which the history answers."""

from dataclasses import dataclass
from datetime import datetime

from recovery.models import Attempt, Decision, Event, Failure, Mitigation, Recovery, ServiceState, Step


@dataclass(frozen=True, slots=True)
class ServiceOverview:
    """One service as it is now: its state, and what is being done about it."""

    service: str
    state: ServiceState
    recovery: Recovery | None = None
    """The open one; None: idle."""
    mitigations: tuple[Mitigation, ...] = ()
    """Remedies in place."""


@dataclass(frozen=True, slots=True)
class NotedDecision:
    """One row of the decision ledger."""

    id: int
    decision: Decision
    repeats: int = 0
    """How often the same was decided again right after."""
    last_at: datetime | None = None
    """When it was last decided again."""


@dataclass(frozen=True, slots=True)
class NotedEvent:
    """One event with the number by which `events_after` goes on."""

    id: int
    event: Event


@dataclass(frozen=True, slots=True)
class RefusedReport:
    """A report that was not taken in, from the audit trail."""

    at: datetime
    actor: str
    """Who handed it in."""
    code: str
    """The error's code, such as `FAILURE_INVALID`."""
    reason: str
    service: str = ""
    """The service it named; empty where it could not be read."""
    times: int = 1
    """How often the same was refused within a minute; they share one row."""


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known about one recovery, each part oldest first."""

    recovery: Recovery
    failures: tuple[Failure, ...]
    attempts: tuple[Attempt, ...]
    steps: tuple[Step, ...]
    decisions: tuple[NotedDecision, ...]
    events: tuple[NotedEvent, ...]
