"""What a guard says when it objects."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from recovery.decide.facts import Facts
from recovery.models import Choice, Decision, JsonObject, RecoveryState


@dataclass(frozen=True, slots=True)
class Verdict:
    """An objection: what happens instead, why, by which numbers, and until when."""

    choice: Choice
    guard: str
    reason: str
    until: datetime | None = None
    """May act again at; None: nobody knows."""
    numbers: JsonObject = field(default_factory=dict)
    quiet: bool = True
    """False: the next report may open a new recovery at once."""
    over: datetime | None = None
    """Of one that is not quiet: what happened before this moment and is reported only now is no news."""
    again: timedelta | None = None
    """Look again after this time at the latest, because what holds the recovery may go before `until`."""
    waits: bool = False
    """Of a strategy that is skipped: True if it is worth waiting for when nothing else is left to try."""
    becomes: RecoveryState | None = None
    """The state of the recovery from now on; default: `pending` for a delay, else `suppressed`."""
    event: str = ""
    """Name of the event that tells of it, if any; it carries `numbers`."""

    @property
    def state(self) -> RecoveryState:
        """Return the state of the recovery from now on."""
        return self.becomes or (RecoveryState.PENDING if self.choice is Choice.DELAY else RecoveryState.SUPPRESSED)

    def look_at(self, now: datetime) -> datetime:
        """Return when to look again."""
        moments = (self.until, now + self.again if self.again else None)
        return min((moment for moment in moments if moment), default=now)

    def decision(self, facts: Facts, strategy: str | None = None) -> Decision:
        """Return the Decision row that records this verdict."""
        return Decision(
            service=facts.service.name,
            choice=self.choice,
            guard=self.guard,
            reason=self.reason,
            at=facts.now,
            recovery_id=facts.recovery.id,
            strategy=strategy,
            failure_id=facts.failure.id if facts.failure else None,
            facts=self.numbers,
            until=self.until,
        )
