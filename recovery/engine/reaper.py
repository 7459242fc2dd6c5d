"""Picks up what time has made due: unsent messages, waits that are over, leases that ran out, mitigations that ended. It never executes."""

import logging

from recovery.engine.coordinator import Coordinator
from recovery.models import Event
from recovery.ports import Clock, Directive, Store

log = logging.getLogger(__name__)

BATCH = 100
"""Recoveries looked at per tick, most severe first; the rest is due at the next tick."""


class Reaper:
    """Looks once per tick.

    Args:
        store: the authority.
        coordinator: makes the transitions.
        clock: returns the current time.
    """

    def __init__(self, store: Store, coordinator: Coordinator, clock: Clock) -> None:
        self._store = store
        self._coordinator = coordinator
        self._clock = clock

    def tick(self) -> list[Directive]:
        """Advance every recovery that is due and return what to do next. One that breaks does not hold up the others."""
        now = self._clock()
        self._end_mitigations()
        directives: list[Directive] = []
        for recovery_id in self._store.due(now, BATCH):
            try:
                directives.append(self._coordinator.advance(recovery_id))
            except Exception:
                log.exception("reaper.broke recovery=%s", recovery_id)
        return directives

    def _end_mitigations(self) -> None:
        now = self._clock()
        for mitigation in self._store.mitigations():
            if mitigation.until > now:
                continue
            data = {"strategy": mitigation.strategy, "reason": "its time ran out"}
            ended = Event("degradation:changed", now, mitigation.service, mitigation.recovery_id, dict(data))
            self._store.end_mitigation(mitigation, [ended])
