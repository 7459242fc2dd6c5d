"""Picks up what time has made due: unsent messages, waits that are over, leases that ran out, mitigations that ended. It never executes.

It also hands the room in the action budget to the most urgent of those that wait for it, and tells of storms.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from recovery.config.fleet import Fleet
from recovery.decide import budget
from recovery.engine.coordinator import Coordinator
from recovery.engine.episodes import let_lie
from recovery.engine.lapsing import end_mitigation, tell_lapsed
from recovery.engine.storm import watch_storm
from recovery.errors import StoreUnavailable
from recovery.ports import Clock, Directive, Store, Strategy
from recovery.registry import Registry

log = structlog.get_logger("recovery")

BATCH = 100
"""Recoveries looked at per tick, those that wait longest first; the rest is due at the next tick."""
BROKEN_PAUSE = timedelta(seconds=10)
"""How soon a recovery is looked at again that could not be advanced because of an error."""


class Reaper:
    """Looks once per tick.

    Args:
        store: the authority.
        coordinator: makes the transitions.
        strategies: say which mitigations end by themselves.
        fleet: returns the configuration in force.
        clock: returns the current time.
    """

    def __init__(
        self, store: Store, coordinator: Coordinator, strategies: Registry[Strategy], fleet: Callable[[], Fleet], clock: Clock
    ) -> None:
        self._store = store
        self._coordinator = coordinator
        self._strategies = strategies
        self._fleet = fleet
        self._clock = clock

    def tick(self) -> list[Directive]:
        """Advance every recovery that is due and return what to do next. One that breaks does not hold up the others.

        Raises `StoreUnavailable` if the store is away; what could be done before that is still returned if only Redis is.
        """
        now = self._clock()
        self._end_mitigations()
        tell_lapsed(self._store, now)
        self._hand_out_room(now)
        directives: list[Directive] = []
        for recovery_id in self._store.due(now, BATCH):
            try:
                directives.append(self._coordinator.advance(recovery_id))
            except StoreUnavailable as error:
                log.warning("reaper.stopped", recovery=recovery_id, reason=error.message)
                break
            except Exception:
                log.exception("reaper.broke", recovery=recovery_id)
                self._put_off(recovery_id, now)
        self._let_lie(now)
        return directives

    def _let_lie(self, now: datetime) -> None:
        """Prolong what was left alone for a reason that still stands. If that fails, the next report only opens a new recovery."""
        try:
            let_lie(self._store, self._coordinator, self._fleet(), now)
        except StoreUnavailable as error:
            log.debug("reaper.stopped", reason=error.message)
        except Exception:
            log.exception("reaper.broke")

    def _put_off(self, recovery_id: str, now: datetime) -> None:
        """Look at a recovery that breaks less often, and let it stand in nobody's way, so that a crowd of them starves nobody."""
        recovery = self._store.recovery(recovery_id)
        if recovery is not None and recovery.state.is_open:
            self._store.transition(recovery, replace(recovery, due_at=now + BROKEN_PAUSE, held_by=""), now=now)

    def _hand_out_room(self, now: datetime) -> None:
        """Wake the most urgent of those that the budget holds, as many as it has room for; the rest costs nothing."""
        fleet = self._fleet()
        load = self._store.load(None, budget.BUDGET, now - timedelta(seconds=fleet.platform.budget.window))
        watch_storm(self._store, fleet, load, now)
        room = budget.free(fleet, load)
        if room and load.ahead:
            self._store.wake_held(budget.BUDGET, room, now)

    def _end_mitigations(self) -> None:
        """Forget mitigations that have ended by themselves; the others stay until a restore has taken them away."""
        now = self._clock()
        for mitigation in self._store.mitigations():
            stays = mitigation.strategy in self._strategies and not self._strategies[mitigation.strategy].lapses
            if mitigation.until <= now and not stays:
                end_mitigation(self._store, mitigation, now)
