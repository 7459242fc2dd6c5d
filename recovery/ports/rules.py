"""How automatic rules of degradation stand, and the trail of who degraded what."""

from collections.abc import Sequence
from typing import Protocol

from recovery.models import Event, RuleStanding


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
