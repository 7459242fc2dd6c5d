"""A breaker's state in Redis: calls the scripts in `lua/` and returns what they answer, as frozen data.

Light to import: redis-py comes in with the connection that the caller hands over.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from recovery.breaker.circuit import Admission, Result, State
from recovery.breaker.options import BreakerOptions

if TYPE_CHECKING:
    from redis import Redis
    from redis.commands.core import Script

BREAKER = "recovery:breaker:"
BREAKERS = "recovery:breakers"
BREAKER_CHANGED = "recovery:breaker:changed"

_LUA = Path(__file__).parent / "lua"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A breaker as Redis had it at one moment. Times are seconds since the epoch, by Redis's clock."""

    name: str
    state: State
    failures: int
    successes: int
    opened_at: float | None
    retry_at: float | None
    trips: int
    reason: str
    version: int
    """Rises with every change, also after Redis lost its data."""
    now: float

    @property
    def retry_in(self) -> float:
        """Return the seconds until callers may probe, 0 unless open."""
        return max(0.0, (self.retry_at or self.now) - self.now) if self.state == "open" else 0.0


class SharedCircuits:
    """Makes the transitions of breakers in Redis, each in one atomic script. Raises what redis-py raises."""

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._scripts = {name: self._register(name) for name in ("view", "declare", "admit", "record", "half_open")}

    def _register(self, name: str) -> "Script":
        return self._redis.register_script((_LUA / "circuit.lua").read_text() + (_LUA / f"{name}.lua").read_text())

    def names(self) -> list[str]:
        """Return the names of all breakers that somebody used."""
        return sorted(_text(name) for name in self._redis.smembers(BREAKERS))

    def view(self, name: str) -> Snapshot | None:
        """Return one breaker, None if nobody ever used it."""
        snapshot, known = self._run("view", name)
        return snapshot if known[0] else None

    def declare(self, name: str, options: BreakerOptions) -> Snapshot:
        """Make a breaker and its options known."""
        return self._run("declare", name, options)[0]

    def admit(self, name: str, options: BreakerOptions, permit: str) -> tuple[Snapshot, Admission]:
        """Decide about one call; in half-open it gets `permit` if one of the few is free."""
        snapshot, (allowed, retry_ms) = self._run("admit", name, options, permit)
        held = permit if snapshot.state == "half_open" else ""
        return snapshot, Admission(allowed=True, permit=held) if allowed else Admission(allowed=False, retry_after=retry_ms / 1000)

    def record(
        self, name: str, options: BreakerOptions | None, result: Result, *, permit: str = "", count: int = 1, reason: str = ""
    ) -> tuple[Snapshot, bool]:
        """Count the end of calls; the second value says whether this opened the breaker."""
        snapshot, (opened,) = self._run("record", name, options, result, permit, count, reason[:500])
        return snapshot, bool(opened)

    def half_open(self, name: str) -> Snapshot:
        """Let probes through now; a closed breaker stays closed."""
        return self._run("half_open", name)[0]

    def _run(self, script: str, name: str, options: BreakerOptions | None = None, *arguments: str | int) -> tuple[Snapshot, list[int]]:
        keys = [BREAKER + name, f"{BREAKER}{name}:permits", BREAKERS]
        answer = self._scripts[script](keys=keys, args=[name, _as_json(options), *arguments])
        state, failures, successes, opened_at, retry_at, trips, reason, version, now, *rest = answer
        snapshot = Snapshot(
            name=name,
            state=cast("State", _text(state)),
            failures=int(failures),
            successes=int(successes),
            opened_at=_seconds(opened_at),
            retry_at=_seconds(retry_at),
            trips=int(trips),
            reason=_text(reason),
            version=int(version),
            now=now / 1000,
        )
        return snapshot, [int(value) for value in rest]


def _as_json(options: BreakerOptions | None) -> str:
    if options is None:
        return ""
    return json.dumps(
        {
            "failure_threshold": options.failure_threshold,
            "success_threshold": options.success_threshold,
            "half_open_requests": options.half_open_requests,
            "reset_timeout": max(1, round(options.reset_timeout * 1000)),
            "permit_timeout": max(1, round(options.permit_timeout * 1000)),
        }
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _seconds(milliseconds: bytes | str) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None
