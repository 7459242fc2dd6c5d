"""Circuit breakers as the platform sees them: `ports.Breakers` over Redis."""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from recovery.breaker.circuit import PROBE
from recovery.breaker.orders import check_length
from recovery.breaker.shared import SharedCircuits, key_of, keys_of
from recovery.breaker.snapshot import Snapshot
from recovery.breaker.spoiled import Nonsense, is_about_one_key, what_is_wrong, what_is_wrong_with_the_list
from recovery.degrade.reach import reaching_redis
from recovery.errors import BreakerSpoiled, StoreUnavailable
from recovery.models import BreakerOrder, BreakerState, BreakerView

log = logging.getLogger("recovery.breaker")


class RedisBreakers:
    """The fleet's breakers in Redis; implements `ports.Breakers`. Thresholds are those that the callers gave."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._circuits = SharedCircuits(redis, by="platform")
        self._said: set[str] = set()

    def view(self, name: str) -> BreakerView | None:
        """Return one breaker as it stands, None if nobody ever used it."""
        with _reaching(f"tell how breaker '{name}' stands", name):
            snapshot = self._circuits.view(name)
        return _view(snapshot) if snapshot else None

    def views(self) -> list[BreakerView]:
        """Return every known breaker, by name; one under whose keys lies what no breaker can be is left out, and logged once."""
        found = []
        for each in self.all():
            if isinstance(each, BreakerView):
                self._said.discard(each.name)
                found.append(each)
            else:
                self._say_once(str(each.payload["name"]), f"left out the {each.message}")
        return found

    def all(self) -> list[BreakerView | BreakerSpoiled]:
        """Return every known breaker, by name: how it stands, or what is wrong under its keys."""
        found = list[BreakerView | BreakerSpoiled]()
        with reaching_redis("list the breakers"):
            for name in self._names():
                try:
                    snapshot = self._circuits.view(name)
                    found += [_view(snapshot)] if snapshot else []
                except (ResponseError, Nonsense) as error:
                    if not is_about_one_key(error):
                        raise
                    found.append(_spoiled(name, error))
        return found

    def half_open(self, name: str) -> BreakerView:
        """Let probes through now; a closed breaker stays closed."""
        with _reaching(f"half-open breaker '{name}'", name):
            return _view(self._circuits.half_open(name))

    def record(self, name: str, *, ok: bool) -> BreakerView:
        """Count one probe: enough successes in half-open close it or begin its ramp, a failure opens it again; else nothing changes."""
        with _reaching(f"count the probe of breaker '{name}'", name):
            return _view(self._circuits.probed(name, None, "ok" if ok else "failed", PROBE, "" if ok else "a probe failed")[0])

    def operate(
        self, name: str, order: BreakerOrder, by: str, reason: str, seconds: float | None = None, *, give_way: bool = False
    ) -> BreakerView:
        """Do what an operator or a strategy says, for all processes at once; `give_way`: not over a mode that somebody else has set.

        Raises `ValueError` for a length that no order has, see `orders.py`.
        """
        check_length(seconds)
        with _reaching(f"take the order for breaker '{name}'", name):
            return _view(self._operate(name, order, reason=reason, by=by, seconds=seconds, give_way=give_way))

    def repair(self, services: Collection[str], seconds: float) -> list[str]:
        """Mark the open breakers of these services for so long as under recovery, take the mark from all others; return who bears it."""
        marked = []
        with reaching_redis("mark the breakers"):
            for name, state, service, mark in self._standing():
                with self._costing_it_alone(name):
                    if state == "open" and (service or name) in services:
                        self._circuits.repair(name, seconds)
                        marked.append(name)
                    elif mark and (service or name) not in services:
                        self._circuits.repair(name, 0)
        return marked

    def mend(self, service: str) -> list[str]:
        """Let callers probe the open breakers of a service that was verified healthy, and take the mark; return who was open."""
        mended = []
        with reaching_redis("let the breakers be probed"):
            for name, state, its_service, mark in self._standing():
                with self._costing_it_alone(name):
                    if (its_service or name) == service and (state == "open" or mark) and self._circuits.mend(name)[1]:
                        mended.append(name)
        return mended

    def _operate(self, name: str, order: BreakerOrder, **how: Any) -> Snapshot:
        """Give the order; a reset, which forgets all, also takes away what no breaker can have."""
        try:
            return self._circuits.operate(name, order.value, **how)
        except (ResponseError, Nonsense) as error:
            if order is not BreakerOrder.RESET or not is_about_one_key(error):
                raise
        self._clear(name)
        return self._circuits.operate(name, "reset", **how)

    def _clear(self, name: str) -> None:
        """Take away all that lies under a breaker's keys, except options that are sound: no caller tells those again before a call ends."""
        own = key_of(name)
        is_hash = self._redis.type(own) in {b"hash", "hash"}
        kept: Any = self._redis.hget(own, "options") if is_hash else None
        self._redis.delete(*keys_of(name))
        if kept is not None:
            self._redis.hset(own, "options", kept)
            try:
                self._circuits.view(name)
            except (ResponseError, Nonsense):
                self._redis.delete(own)

    def _names(self) -> list[str]:
        try:
            return self._circuits.names()
        except ResponseError as error:
            if not is_about_one_key(error):
                raise
            raise StoreUnavailable(f"the breakers cannot be listed: {what_is_wrong_with_the_list(error)}") from error

    @contextmanager
    def _costing_it_alone(self, name: str) -> Iterator[None]:
        """Leave out a breaker under whose keys lies what no breaker can be, and say so once."""
        try:
            yield
        except (ResponseError, Nonsense) as error:
            if not is_about_one_key(error):
                raise
            self._say_once(name, f"left out the {_spoiled(name, error).message}")

    def _say_once(self, name: str, what: str) -> None:
        if name not in self._said:
            self._said.add(name)
            log.warning("%s", what)

    def _standing(self) -> list[tuple[str, str, str, str]]:
        """Return (name, state, service, mark) of every sound breaker in one round trip: this is asked every second."""
        names = self._names()
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hmget(key_of(name), "state", "service", "repairing_until")
            found: list[list[Any] | Exception] = pipe.execute(raise_on_error=False)
        standing = []
        for name, values in zip(names, found, strict=True):
            if not isinstance(values, Exception):
                state, service, mark = ((value or b"").decode(errors="replace") for value in values)
                standing.append((name, state, service, mark))
            elif not is_about_one_key(values):
                raise values
        return standing


@contextmanager
def _reaching(what: str, name: str) -> Iterator[None]:
    """Raise `StoreUnavailable` in place of any error of redis-py, `BreakerSpoiled` for what no breaker can be."""
    with reaching_redis(what):
        try:
            yield
        except (ResponseError, Nonsense) as error:
            if not is_about_one_key(error):
                raise
            raise _spoiled(name, error) from error


def _spoiled(name: str, error: Exception) -> BreakerSpoiled:
    return BreakerSpoiled(f"breaker '{name}': {what_is_wrong(name, key_of(name), error)}", name=name)


def _view(snapshot: Snapshot) -> BreakerView:
    circuit = snapshot.circuit
    return BreakerView(
        name=snapshot.name,
        state=BreakerState(snapshot.shown),
        service=snapshot.service or snapshot.name,
        mode=BreakerOrder(circuit.mode),
        mode_since=moment_of(None if snapshot.mode_at is None else snapshot.mode_at / 1000),
        mode_until=moment_of(circuit.ordered.until),
        mode_by=circuit.ordered.by,
        mode_reason=circuit.ordered.reason,
        calls=snapshot.calls,
        failures=snapshot.failures,
        slow=snapshot.slow,
        in_a_row=snapshot.view.in_a_row,
        successes=circuit.successes,
        percent=snapshot.percent,
        opened_at=moment_of(circuit.opened_at),
        retry_at=moment_of(circuit.retry_at),
        repairing_until=moment_of(circuit.repairing_until),
        streak=circuit.streak,
        trips=circuit.trips,
        votes=snapshot.votes,
        reason=circuit.reason,
        now=moment_of(snapshot.view.now),
    )


def moment_of(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as a time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
