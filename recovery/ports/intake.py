"""Reports on their way in: what is handed to the store, what becomes of it, and what is refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from recovery.models import Event, Failure, Recovery


class Intake(StrEnum):
    """What became of a report."""

    OPENED = "opened"
    MERGED = "merged"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answer of the store to a new recovery."""

    intake: Intake
    recovery: Recovery
    """The one that was opened, or that the report was merged into."""


@dataclass(frozen=True, slots=True)
class Report:
    """One failure on its way in."""

    failure: Failure
    at: datetime
    """When it came in."""
    opens: Callable[[], tuple[Recovery, Sequence[Event]]]
    """Returns the recovery that it opens, with its events; needed only if nothing takes the report in. It may read, never write."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A report that was not taken in, and why."""

    actor: str
    """Who handed it in."""
    code: str
    """The error's code, such as `FAILURE_INVALID`."""
    reason: str
    at: datetime
    service: str = ""
    """The service it named; empty where it could not be read."""
    report: str = ""
    """The beginning of what could not be read."""
