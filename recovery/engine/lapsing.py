"""Tells what ends because its time ran out. Redis forgets it by itself; the database knows until it is told, so it is told once."""

from datetime import datetime

from recovery.degrade.keys import STRATEGY_LAYERS
from recovery.engine.chronicle import tell
from recovery.engine.recording import CHANGED, LAPSED, changed
from recovery.models import Event, JsonObject, Mitigation
from recovery.ports import Store

TIME = "its time ran out"


def tell_lapsed(store: Store, now: datetime) -> None:
    """Tell of every degradation of people and remedies that is over by itself; of any number of workers, one tells it."""
    for degradation in store.degraded():
        if degradation.until <= now:
            happened = changed(degradation, LAPSED, now, degradation.by or degradation.layer, TIME)
            if store.lapse_degraded(degradation, [happened], now):
                tell([happened])


def end_mitigation(store: Store, mitigation: Mitigation, now: datetime) -> None:
    """Forget a mitigation whose time ran out; what it had degraded tells of its own end, so only another one is told here."""
    data: JsonObject = {"change": LAPSED, "layer": mitigation.strategy, "until": mitigation.until.isoformat()}
    data |= {"reason": TIME, "by": mitigation.strategy}
    degrades = mitigation.strategy in STRATEGY_LAYERS
    events = [] if degrades else [Event(CHANGED, now, mitigation.service, mitigation.recovery_id, data)]
    if store.end_mitigation(mitigation, events):
        tell(events)
