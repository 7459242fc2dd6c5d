"""Says in the log what was committed: one line per event, with service and recovery, so that a log tells the story by itself."""

from collections.abc import Iterable

import structlog

from recovery.models import Choice, Decision, Event

log = structlog.get_logger("recovery")

ALARMING = frozenset({"recovery:failed", "recovery:approval_requested", "recovery:suggested", "platform:storm_began"})
"""Events that an operator must not overlook."""
TOLD = frozenset({Choice.SKIP, Choice.SUPPRESS, Choice.ESCALATE})
"""Decisions that explain why something else happens than the plan's first choice. Others are events, or repeat every second."""


def tell(events: Iterable[Event] = (), decisions: Iterable[Decision] = ()) -> None:
    """Log committed events and the decisions that need explaining."""
    for decision in decisions:
        if decision.choice in TOLD:
            named = {"strategy": decision.strategy} if decision.strategy else {}
            name = f"decision.{decision.choice}"
            log.info(
                name,
                service=decision.service,
                recovery=decision.recovery_id,
                guard=decision.guard,
                reason=decision.reason,
                **named,
            )
    for event in events:
        say = log.warning if event.name in ALARMING else log.info
        say(event.name.replace(":", "."), service=event.service, recovery=event.recovery_id, **event.data)
