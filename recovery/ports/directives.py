"""What the coordinator answers; whoever asked obeys."""

from dataclasses import dataclass
from datetime import datetime

from recovery.models import Outcome


@dataclass(frozen=True, slots=True)
class Execute:
    """Send the strategy task."""

    recovery_id: str
    service: str
    strategy: str
    queue: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`; the tick comes back."""

    recovery_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """Closed."""

    recovery_id: str
    outcome: Outcome | None


Directive = Execute | Wait | Done
