"""Circuit breakers as the platform sees them: `ports.Breakers` over Redis and in memory."""

from datetime import UTC, datetime
from threading import Lock

from redis import Redis

from recovery.breaker.circuit import PROBE, Circuit, half_opened, record
from recovery.breaker.options import BreakerOptions
from recovery.breaker.shared import SharedCircuits, Snapshot
from recovery.degrade.reach import reaching_redis
from recovery.models import BreakerState, BreakerView, utcnow
from recovery.ports import Clock


class RedisBreakers:
    """The fleet's breakers in Redis; implements `ports.Breakers`. Thresholds are those that the callers gave."""

    def __init__(self, redis: Redis) -> None:
        self._circuits = SharedCircuits(redis)

    def view(self, name: str) -> BreakerView | None:
        """Return one breaker as it stands, None if nobody ever used it."""
        with reaching_redis("tell the breaker"):
            snapshot = self._circuits.view(name)
        return _view(snapshot.name, snapshot) if snapshot else None

    def views(self) -> list[BreakerView]:
        """Return every known breaker, by name."""
        with reaching_redis("list the breakers"):
            snapshots = [self._circuits.view(name) for name in self._circuits.names()]
        return [_view(snapshot.name, snapshot) for snapshot in snapshots if snapshot]

    def half_open(self, name: str) -> BreakerView:
        """Let probes through now; a closed breaker stays closed."""
        with reaching_redis("half-open the breaker"):
            return _view(name, self._circuits.half_open(name))

    def record(self, name: str, *, ok: bool) -> BreakerView:
        """Count one probe: enough successes in half-open close it, a failure opens it again."""
        with reaching_redis("count the probe"):
            snapshot, _ = self._circuits.record(name, None, "ok" if ok else "failed", permit=PROBE, reason="" if ok else "a probe failed")
        return _view(snapshot.name, snapshot)


class MemoryBreakers:
    """Breakers of one process, for tests and trials; implements `ports.Breakers`."""

    def __init__(self, clock: Clock = utcnow, options: BreakerOptions | None = None) -> None:
        self._clock = clock
        self._options = options or BreakerOptions()
        self._lock = Lock()
        self._circuits: dict[str, Circuit] = {}

    def view(self, name: str) -> BreakerView | None:
        """Return one breaker as it stands, None if nobody ever used it."""
        circuit = self._circuits.get(name)
        return _view(name, circuit) if circuit else None

    def views(self) -> list[BreakerView]:
        """Return every known breaker, by name."""
        return [_view(name, circuit) for name, circuit in sorted(self._circuits.items())]

    def half_open(self, name: str) -> BreakerView:
        """Let probes through now; a closed breaker stays closed."""
        with self._lock:
            circuit = half_opened(self._circuits.get(name, Circuit()))
            if name in self._circuits:
                self._circuits[name] = circuit
            return _view(name, circuit)

    def record(self, name: str, *, ok: bool) -> BreakerView:
        """Count one probe: enough successes in half-open close it, a failure opens it again."""
        with self._lock:
            before = self._circuits.get(name, Circuit())
            now = self._clock().timestamp()
            after = record(before, self._options, now, "ok" if ok else "failed", permit=PROBE, reason="" if ok else "a probe failed")
            self._circuits[name] = after
            return _view(name, after)


def _view(name: str, circuit: Circuit | Snapshot) -> BreakerView:
    return BreakerView(
        name=name,
        state=BreakerState(circuit.state),
        failures=circuit.failures,
        successes=circuit.successes,
        opened_at=_moment(circuit.opened_at),
        retry_at=_moment(circuit.retry_at),
        trips=circuit.trips,
        reason=circuit.reason,
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
