"""What the store keeps about a recovery: the recovery, its attempts, steps, lease, decisions and events."""

from dataclasses import dataclass, field
from datetime import datetime

from recovery.models.plan import Plan
from recovery.models.words import Action, AttemptState, Category, Choice, JsonObject, Kind, Outcome, RecoveryState, Severity, StepState


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
    """Once closed: equal failures before this moment merge into it instead of opening another one. Of one that was closed because
    the failure was over, it lies in the past: failures that happened before it, and are reported late, merge."""
    held_by: str = ""
    """The guard that makes it wait, while it waits."""
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
    fingerprint: str = ""
    """The failure it was for; a strategy that did not help against it is remembered."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    outcome: Outcome | None = None
    reason: str = ""
    fence: int = 0
    """Token of the lease it last ran under; 0 before the first."""
    runs: int = 0
    """How many workers took it up and did not hand it back, as they do when the store goes away; above 1 means that one was lost."""


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
