"""Degradations whose every change is told: an event `degradation:changed` and a row in the audit trail."""

from collections.abc import Callable
from datetime import datetime

from recovery.config.fleet import Fleet
from recovery.degrade.features import resolved
from recovery.degrade.keys import RECOVERY
from recovery.engine.chronicle import tell
from recovery.models import Degradation, Event, JsonObject
from recovery.ports import Clock, Degradations, Store

CHANGED = "degradation:changed"
PUT, ENDING, ENDED, LAPSED = "put", "ending", "ended", "lapsed"
"""What happened: put in force, its ramp began, gone at once, its time ran out (its ramp, if it has one, begins)."""


class RecordedDegradations:
    """What strategies put and end, with all that its level costs by the declarations; implements `ports.Degradations`.

    The change is told after it was made. Whoever finds his change made, after a crash, makes it again and so tells of it: twice
    rather than never.

    Args:
        degradations: where services read them.
        store: keeps events and the audit trail.
        fleet: returns the configuration in force.
        clock: returns the current time.
    """

    def __init__(self, degradations: Degradations, store: Store, fleet: Callable[[], Fleet], clock: Clock) -> None:
        self._degradations = degradations
        self._store = store
        self._fleet = fleet
        self._clock = clock

    def current(self, service: str, layer: str = RECOVERY) -> Degradation | None:
        """Return what this layer lets `service` do without, None when nothing."""
        return self._degradations.current(service, layer)

    def all(self) -> list[Degradation]:
        """Return every degradation there is."""
        return self._degradations.all()

    def put(self, degradation: Degradation) -> bool:
        """Put it in force until its `until`, and tell; False if its layer has one with a higher fence."""
        fleet = self._fleet()
        whole = resolved(degradation, fleet.features, fleet.capabilities)
        now = self._clock()
        change = PUT if whole.until > now else ENDING if whole.gone_at > now else ENDED  # an older one that is put back may be over
        return self._degradations.put(whole) and self._tell(whole, change)

    def end(self, service: str, fence: int | None, layer: str = RECOVERY) -> bool:
        """Let it end from now on, by its ramp if it has one, and tell; False if there is none, or one with a higher fence."""
        before = self._degradations.current(service, layer)
        ended = self._degradations.end(service, fence, layer)
        if ended and before and before.until > self._clock():
            self._tell(before, ENDING if before.ramp else ENDED)
        return ended

    def clear(self, service: str, fence: int | None, layer: str = RECOVERY) -> bool:
        """End it at once, and tell; False if there is none, or one with a higher fence."""
        before = self._degradations.current(service, layer)
        cleared = self._degradations.clear(service, fence, layer)
        if cleared and before:
            self._tell(before, ENDED)
        return cleared

    def _tell(self, degradation: Degradation, change: str) -> bool:
        record_one(self._store, degradation, changed(degradation, change, self._clock(), degradation.by or degradation.layer))
        return True


def record(store: Store, events: list[Event]) -> None:
    """Store events with their rows in the audit trail, and say them in the log."""
    store.record_audited(events)
    tell(events)


def record_one(store: Store, degradation: Degradation, event: Event) -> None:
    """Do the same for what a person or a remedy did to `degradation`, and keep it until its end is told, too."""
    store.record_degraded(degradation, [event], stays=event.data["change"] == PUT)
    tell([event])


def changed(degradation: Degradation, change: str, now: datetime, by: str, reason: str | None = None) -> Event:
    """Return the event that tells what somebody did to a degradation, or that time did it.

    Args:
        degradation: as it was before it ended, or as it is from now on.
        change: what happened, such as `PUT`.
        now: when.
        by: who did it, or put what ended by itself.
        reason: why; None: for the same reason for which it was put.
    """
    until = degradation.until if change == PUT else min(degradation.until, now)
    data: JsonObject = {
        "change": change,
        "layer": degradation.layer,
        "level": str(degradation.level),
        "until": until.isoformat(),
        "ramp": list(degradation.ramp),
        "ramp_stage": degradation.ramp_stage,
        "features_off": list(degradation.features_off),
        "capabilities": dict(degradation.capabilities),
        "reason": degradation.reason if reason is None else reason,
        "by": by,
    }
    return Event(CHANGED, now, degradation.service, degradation.recovery_id or None, data)
