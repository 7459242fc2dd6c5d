"""Records the platform's signs of life and says how it does."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.models import Event, JsonObject, Pulse
from recovery.ports import Clock, Store
from recovery.watch.health import diagnose
from recovery.watch.sight import AHEAD, blindness
from recovery.watch.signs import CANARY, PAUSE, PING, TICK, TICK_EVERY, TICK_LIMIT, WORKER, missed_sweeps
from recovery.watch.words import PlatformHealth

NAME_LENGTH = 200
"""Characters of a pulse's name."""
FORGET_AFTER = timedelta(days=1)


class Watch:
    """The platform's view of itself. Every method may raise `StoreUnavailable`.

    Args:
        store: keeps the signs of life, where every process of the platform finds them.
        fleet: returns the fleet in force; may raise `ConfigurationError`.
        queues: those that must be served.
        clock: the time.
    """

    def __init__(self, store: Store, fleet: Callable[[], Fleet], queues: Sequence[str], clock: Clock) -> None:
        self._store = store
        self._fleet = fleet
        self._queues = tuple(queues)
        self._clock = clock
        self._tried_at: datetime | None = None

    def health(self) -> PlatformHealth:
        """Return how every part of the platform does. Raises `ConfigurationError` if no valid fleet was ever declared."""
        store = self._store
        pulses, leases, recoveries, states = store.pulses(), store.leases(), store.open_recoveries(), store.service_states()
        checks = store.check_states(states)
        return diagnose(pulses, leases, recoveries, states, self._fleet(), self._clock(), self._queues, checks)

    def ticked(self, beat: str) -> None:
        """Note that a tick came; tell once when the platform goes blind, once when it sees again, and once after a pause of the ticks.

        Does so at most every `TICK_EVERY` seconds, in one of the processes that tick; the other calls cost nothing or one
        conditional write.

        Args:
            beat: which process of beat sent the tick.
        """
        now = self._clock()
        if self._tried_at is not None and abs((now - self._tried_at).total_seconds()) < TICK_EVERY:
            return
        self._tried_at = now
        if not self._store.claim_sweep(TICK, now, 2 * TICK_EVERY):
            return
        blind = blindness(self._store.service_states(), self._fleet(), now)
        before = self._store.pulses().get(TICK)
        since = _blind_since(before)
        if blind and since is None:
            self._store.record(events=[Event("platform:blind", now, data={"reason": blind})])
            since = now
        elif since is not None and not blind:
            self._store.record(events=[Event("platform:sees", now, data={"blind_seconds": (now - since).total_seconds()})])
            since = None
        detail: JsonObject = {"beat": beat, "blind_since": since.isoformat() if since else None, PAUSE: self._pause(before, now)}
        self._store.pulse(TICK, _not_back(now, before), detail)

    def _pause(self, before: Pulse | None, now: datetime) -> JsonObject | None:
        """Return the last pause of the ticks; one that ends now is told, with the sweeps that were missed in it: none is made up for."""
        if before is None:
            return None
        seconds = (now - before.at).total_seconds()
        if seconds <= TICK_LIMIT:
            known = before.detail.get(PAUSE)
            return known if isinstance(known, dict) else None
        pause: JsonObject = {"until": now.isoformat(), "seconds": round(seconds, 3), "sweeps": missed_sweeps(self._fleet(), seconds)}
        reason = f"no tick came for {seconds:.0f} s; sweeps that were due meanwhile and are not made up for: {pause['sweeps']}"
        self._store.record(events=[Event("platform:missed", now, data={**pause, "reason": reason})])
        return pause

    def canary_came(self, queue: str, sent_at: datetime) -> None:
        """Note that a canary came through `queue`, and how long it took."""
        now = self._clock()
        self._store.pulse(f"{CANARY}{queue}", now, {"seconds": max(0.0, (now - sent_at).total_seconds())})

    def worker_lives(self, name: str, detail: JsonObject) -> None:
        """Note that a worker lives.

        Args:
            name: its node name, such as `recover@host`.
            detail: `queues`, `pid` and `version`.
        """
        self._store.pulse(f"{WORKER}{name}"[:NAME_LENGTH], self._clock(), detail)

    def worker_stops(self, name: str) -> None:
        """Note that a worker ends on purpose, so that nobody misses it."""
        self._store.pulse(f"{WORKER}{name}"[:NAME_LENGTH], self._clock(), {"stopped": True})

    def pinged(self, error: str | None) -> bool:
        """Note how the ping to the outside went (`error`: what went wrong); say whether it went otherwise than the last one."""
        before = self._store.pulses().get(PING)
        was_ok = before is None or bool(before.detail.get("ok"))
        self._store.pulse(PING, self._clock(), {"ok": error is None, "error": error})
        return was_ok is not (error is None)

    def forget(self) -> int:
        """Delete the signs of life of parts that are gone for a day; return how many."""
        return self._store.forget_pulses(self._clock() - FORGET_AFTER)


def _not_back(now: datetime, before: Pulse | None) -> datetime:
    """Return the time, or that of the pulse `before` if the clock was set back a little: the store would drop what is older."""
    return max(now, before.at) if before and before.at <= now + AHEAD else now


def _blind_since(tick: Pulse | None) -> datetime | None:
    since = tick.detail.get("blind_since") if tick else None
    return datetime.fromisoformat(since) if isinstance(since, str) else None
