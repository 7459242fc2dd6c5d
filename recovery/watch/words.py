"""What is said about the platform itself: its parts, each with a status, and the whole."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PartStatus(StrEnum):
    """How one part of the platform does."""

    OK = "ok"
    LATE = "late"
    """Its sign of life is overdue, or it takes too long."""
    LOST = "lost"
    """Overdue for so long that it will not come by itself."""
    UNKNOWN = "unknown"
    """No sign of life was ever recorded."""


class PlatformStatus(StrEnum):
    """How the platform as a whole does."""

    OK = "ok"
    DEGRADED = "degraded"
    """A part is late, lost or unknown; what still works is said part by part."""
    BLIND = "blind"
    """No sweep was recorded lately: automatic recoveries wait."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the platform as it stands."""

    name: str
    """`sight`, `tick`, `worker:recover@host`, `canary:restart`, `leases`, `recoveries`, `ping`."""
    status: PartStatus
    message: str
    """One sentence with the numbers."""
    age: float | None = None
    """Seconds since its last sign of life (of `leases` and `recoveries`: seconds overdue); None: there is none."""
    limit: float | None = None
    """Seconds of `age` from which it counts as late."""


@dataclass(frozen=True, slots=True)
class PlatformHealth:
    """All parts of the platform, and what they come to."""

    at: datetime
    status: PlatformStatus
    parts: tuple[Part, ...]
    blind: str | None = None
    """Why it is blind, in one sentence."""
    missed: str | None = None
    """What was missed in a pause of the ticks that is over for less than an hour, in one sentence."""

    @property
    def troubles(self) -> tuple[Part, ...]:
        """Return the parts that are not ok."""
        return tuple(part for part in self.parts if part.status is not PartStatus.OK)
