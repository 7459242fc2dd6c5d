"""Says once that a storm began, and once that it is over: so many services sick at once that a person should look for the common cause."""

from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.decide import budget
from recovery.engine.chronicle import tell
from recovery.models import Choice, Decision, Event, JsonObject, Load
from recovery.ports import Store

STORM = "storm"
"""Name of the pulse that remembers the storm that was told of."""
CALM = timedelta(seconds=60)
"""A storm is over after so long without one, so that a wavering one is told once."""
EVERYBODY = "*"
"""Stands for the whole fleet where a decision names a service."""
ONE_TELLS = 2.0
"""Seconds within which only one of several ticks may tell of the same change."""


def watch_storm(store: Store, fleet: Fleet, load: Load, now: datetime) -> None:
    """Compare what is under way with what was last told, and tell of a change: an event, and a decision that asks for a person."""
    storm, pulse = budget.is_storm(fleet, load), store.pulses().get(STORM)
    told = pulse is not None and pulse.detail.get("on") is True
    if storm and not told and store.claim_sweep("storm began", now, ONE_TELLS):
        _tell(store, "platform:storm_began", _beginning(fleet, load), now, {"open": load.open, "services": len(fleet.services)})
    if storm:
        store.pulse(STORM, now, {"on": True})
    elif told and pulse and now - pulse.at > CALM and store.claim_sweep("storm ended", now, ONE_TELLS):
        _tell(store, "platform:storm_ended", f"the storm is over: {load.open} open recoveries", now, {"open": load.open})
        store.pulse(STORM, now, {"on": False})


def _beginning(fleet: Fleet, load: Load) -> str:
    return (
        f"needs a person: {load.open} of {len(fleet.services)} services are sick at once, which points to a common cause; "
        f"at most {budget.concurrent(fleet, load)} are recovered at once until it is over"
    )


def _tell(store: Store, name: str, reason: str, now: datetime, numbers: JsonObject) -> None:
    event = Event(name, now, data={**numbers, "reason": reason})
    escalates = name == "platform:storm_began"
    decisions = [Decision(EVERYBODY, Choice.ESCALATE, STORM, reason, now, facts=numbers)] if escalates else []
    store.record(decisions, [event])
    tell([event], decisions)
