"""What people say about acting: silences and approvals; and what the platform knows about itself: its load, quota and pulses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from recovery.models.words import Answer, JsonObject, SilenceKind


@dataclass(frozen=True, slots=True)
class Silence:
    """A time in which automatic recoveries wait. They look again when it ends."""

    id: str
    kind: SilenceKind
    since: datetime
    until: datetime | None
    """None: until somebody lifts it."""
    author: str
    reason: str
    created_at: datetime
    services: tuple[str, ...] = ()
    """Names; empty together with `labels`: every service."""
    labels: dict[str, str] = field(default_factory=dict)
    """A service that bears all of these is covered, too."""
    lifted_at: datetime | None = None
    lifted_by: str = ""

    def covers(self, service: str, labels: Mapping[str, str]) -> bool:
        """Say whether it is about a service with this name and these labels."""
        if not self.services and not self.labels:
            return True
        return service in self.services or (bool(self.labels) and self.labels.items() <= labels.items())

    def in_force(self, now: datetime) -> bool:
        """Say whether it holds at `now`."""
        return self.lifted_at is None and self.since <= now and (self.until is None or now < self.until)


@dataclass(frozen=True, slots=True)
class Approval:
    """A question to a person: may this recovery act? The first answer wins."""

    recovery_id: str
    asked_at: datetime
    until: datetime
    """When the question lapses."""
    answer: Answer | None = None
    answered_by: str = ""
    answered_at: datetime | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much may be under way at once; checked in the same transaction that begins a recovery."""

    concurrent: int
    """Recoveries in progress, the one that begins included."""
    actions: int | None = None
    """Recoveries begun since `since`, the one that begins included; None: any number."""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How much is under way over the fleet, seen from one recovery."""

    in_progress: int = 0
    open: int = 0
    """Open recoveries that nobody asked for by hand."""
    begun: int = 0
    """Recoveries that began within the budget's window."""
    ahead: int = 0
    """Recoveries that wait for the budget, too, and are more urgent."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What a decision rested on and what it came to, so that it can be made again."""

    recovery_id: str
    service: str
    at: datetime
    config_version: str
    facts: JsonObject
    decisions: tuple[JsonObject, ...]
    """Choice, guard, strategy and `until` of each decision, in order."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """The last sign of life of one part of the platform."""

    name: str
    """Like `tick`, `worker:recover@host`, `canary:restart`."""
    at: datetime
    detail: JsonObject = field(default_factory=dict)
