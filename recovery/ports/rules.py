"""How automatic rules of degradation stand, what else is in force, and the trail of who degraded what."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from recovery.models import Degradation, Event, RuleStanding


class RuleStore(Protocol):
    """Standings of rules, each moved on by one of the workers that judge it at once."""

    def rule_standings(self) -> dict[str, RuleStanding]:
        """Return how each rule stands that ever held, by name."""
        ...

    def move_rule(self, before: RuleStanding | None, after: RuleStanding | None, events: Sequence[Event] = ()) -> bool:
        """Replace `before` by `after`, at the version after its own, if nobody else has, with its events, as `record_audited` stores them.

        Nothing before: it is new. Nothing after: it is forgotten. False: somebody was faster, and nothing was written.
        """
        ...

    def record_audited(self, events: Sequence[Event]) -> None:
        """Store events with a row in the audit trail each, whose actor is the `by` of the event's data."""
        ...

    def degraded(self) -> list[Degradation]:
        """Return what people and remedies put in force and whose end is not told yet, by service and layer."""
        ...

    def record_degraded(self, degradation: Degradation, events: Sequence[Event], *, stays: bool) -> None:
        """Keep what is in force in its layer from now on (`stays`), or forget it, with events as `record_audited` stores them.

        What has a higher fence is left as it is; the events are stored all the same.
        """
        ...

    def lapse_degraded(self, degradation: Degradation, events: Sequence[Event], now: datetime) -> bool:
        """Forget a degradation that is over at `now`, with its events; False, and nothing written: somebody was faster, or put it again."""
        ...
