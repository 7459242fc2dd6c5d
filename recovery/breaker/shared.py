"""A breaker's state in Redis: calls the scripts in `lua/` and returns what they answer, as frozen data.

Light to import: redis-py comes in with the connection that the caller hands over.
"""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recovery.breaker.circuit import Admission, Circuit, Result
from recovery.breaker.fleet import Ended, FleetView, Order
from recovery.breaker.options import BreakerOptions
from recovery.breaker.snapshot import Snapshot, snapshot_of
from recovery.breaker.spoiled import BREAKERS, is_about_one_key, version_in

if TYPE_CHECKING:
    from redis import Redis
    from redis.commands.core import Script

BREAKER = "recovery:breaker:"
BREAKER_CHANGED = "recovery:breaker:changed"
BREAKER_HISTORY = "recovery:breaker:history"

_LUA = Path(__file__).parent / "lua"
_SCRIPTS = {
    **dict.fromkeys(("declare", "admit", "probed", "vote", "half_open", "operate", "repair", "mend"), ("sound", "circuit")),
    **dict.fromkeys(("view", "tell", "merge"), ("sound", "circuit", "window")),
}
"""Script -> what is put in front of it."""
_AS_THEY_ARE = (
    *("failure_threshold", "failure_rate", "slow_call_duration", "slow_call_rate", "minimum_requests", "success_threshold"),
    *("half_open_requests", "backoff_factor", "jitter", "quorum", "mode", "service"),
)
_DURATIONS = ("permit_timeout", "reset_timeout", "max_reset_timeout", "ramp_stage")


class SharedCircuits:
    """Makes the transitions of breakers in Redis, each in one atomic script. Raises what redis-py raises.

    Args:
        redis: a connection pool.
        by: who makes the changes, for the history; up to 200 characters.
        clock: seconds since the epoch; default: Redis's own clock, which makes the clocks of the hosts matter to nobody.
        chance: from 0 up to but not including 1, for the jitter.
    """

    def __init__(
        self,
        redis: "Redis",
        by: str = "",
        clock: Callable[[], float] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._redis = redis
        self._by = by[:200]
        self._clock = clock
        self._chance = chance
        self._scripts = {name: self._register((*before, name)) for name, before in _SCRIPTS.items()}
        from redis.exceptions import NoScriptError  # whoever has a connection has this

        self._forgotten = NoScriptError

    def _register(self, parts: Sequence[str]) -> "Script":
        return self._redis.register_script("\n".join(map(_source, parts)))

    def names(self) -> list[str]:
        """Return the names of all breakers that somebody used."""
        return sorted(_text(name) for name in self._redis.smembers(BREAKERS))

    def versions(self, names: Iterable[str]) -> list[int]:
        """Return the version of each breaker in one round trip, 0 for those that nobody used and for what is no breaker."""
        with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hget(key_of(name), "version")
            return [_version(found) for found in pipe.execute(raise_on_error=False)]

    def enlist(self, names: Iterable[str]) -> None:
        """Put names on the list of all breakers, where each is from its beginning, in case that the list was lost."""
        self._redis.sadd(BREAKERS, *names)

    def view(self, name: str) -> Snapshot | None:
        """Return one breaker, None if nobody ever used it."""
        snapshot, known = self._run("view", name)
        return snapshot if known[0] else None

    def declare(self, name: str, options: BreakerOptions) -> Snapshot:
        """Make a breaker and its options known."""
        return self._run("declare", name, options)[0]

    def admit(self, name: str, options: BreakerOptions, permit: str) -> tuple[Snapshot, Admission]:
        """Decide about one call; among probes it gets `permit` if one of the few is free."""
        snapshot, (allowed, retry_ms, held) = self._run("admit", name, options, permit, self._chance())
        return snapshot, Admission(bool(allowed), permit if held else "", retry_ms / 1000)

    def probed(self, name: str, options: BreakerOptions | None, result: Result, permit: str, reason: str = "") -> tuple[Snapshot, bool]:
        """Count the end of a probe; the second value says whether this opened the breaker."""
        snapshot, (opened,) = self._run("probed", name, options, result, permit, _sentence(reason))
        return snapshot, bool(opened)

    def tell(self, name: str, options: BreakerOptions | None, calls: Sequence[Ended]) -> tuple[Snapshot, bool]:
        """Count calls that ended, in order; the second value says whether this opened the breaker."""
        snapshot, (opened,) = self._run("tell", name, options, _last_reason(calls), *_batches(calls))
        return snapshot, bool(opened)

    def vote(self, name: str, options: BreakerOptions, process: str, seconds: float, reason: str = "") -> tuple[Snapshot, bool]:
        """Note that `process` has the breaker open for itself; the second value says whether the fleet opened.

        That counts for `seconds` unless it is said again; 0: it has closed it.
        """
        milliseconds = max(1, round(seconds * 1000)) if seconds > 0 else 0
        snapshot, (opened,) = self._run("vote", name, options, process, milliseconds, _sentence(reason))
        return snapshot, bool(opened)

    def merge(
        self, name: str, options: BreakerOptions, heard: Snapshot | None, retry_in: float, calls: Ended | None
    ) -> tuple[Snapshot, bool]:
        """Bring a process and the fleet together after Redis was away; the second value says whether this opened the breaker.

        Args:
            name: of the breaker.
            options: of the breaker.
            heard: what the process last heard of the fleet.
            retry_in: seconds from now until callers may probe, by what was heard.
            calls: what the fleet did not hear of, and whether the process opened the breaker alone.
        """
        view = heard.view if heard else FleetView(Circuit(), 0.0, 0)
        known = view.circuit
        snapshot, (opened,) = self._run(
            "merge",
            name,
            options,
            _sentence(calls.reason if calls else ""),
            _sentence(calls.tripped if calls else ""),
            view.version,
            known.state,
            round(retry_in * 1000),
            known.streak,
            known.trips,
            known.reason,
            known.mode,
            heard.mode_at if heard and heard.mode_at else "",
            "" if known.ordered.until is None else round(known.ordered.until * 1000),
            known.ordered.by,
            known.ordered.reason,
            *_batches([calls] if calls and calls.result != "void" else []),
        )
        return snapshot, bool(opened)

    def half_open(self, name: str, reason: str = "a recovery probes it") -> Snapshot:
        """Let probes through now; any but an open breaker stays as it is."""
        return self._run("half_open", name, None, _sentence(reason))[0]

    def operate(
        self,
        name: str,
        order: Order,
        *,
        options: BreakerOptions | None = None,
        reason: str = "",
        by: str = "",
        seconds: float | None = None,
        give_way: bool = False,
    ) -> Snapshot:
        """Do what somebody says, for the whole fleet.

        Args:
            name: of the breaker.
            order: a mode, or `reset`.
            options: of the breaker; None: those stored before.
            reason: in a sentence.
            by: who says so; default: who makes the changes here.
            seconds: after which the mode ends by itself, above 0; None: it stands until another order.
            give_way: do nothing while a mode is in force that somebody else has set.
        """
        lasts = "" if seconds is None else max(1, round(seconds * 1000))
        return self._run("operate", name, options, order, _sentence(reason), lasts, int(give_way), by=_sentence(by))[0]

    def repair(self, name: str, seconds: float) -> Snapshot:
        """Mark for so long that a recovery is at work; 0 takes the mark away."""
        return self._run("repair", name, None, round(seconds * 1000))[0]

    def mend(self, name: str, reason: str = "its service was verified healthy") -> tuple[Snapshot, bool]:
        """Take the mark of a recovery away and let callers probe at once; the second value says whether the breaker was open."""
        snapshot, (was_open,) = self._run("mend", name, None, _sentence(reason))
        return snapshot, bool(was_open)

    def _run(
        self, script: str, name: str, options: BreakerOptions | None = None, *arguments: str | float, by: str = ""
    ) -> tuple[Snapshot, list[int]]:
        keys = [*keys_of(name), BREAKERS, BREAKER_HISTORY]
        now = "" if self._clock is None else round(self._clock() * 1000)
        answer = self._ask(self._scripts[script], keys, [name, as_json(options), now, self._chance(), by[:200] or self._by, *arguments])
        return snapshot_of(answer[0]), [int(value) for value in answer[1:]]

    def _ask(self, script: "Script", keys: list[str], arguments: list[str | float]) -> list[Any]:
        """Run a script, past what redis-py adds to each command: it takes longer than the way to Redis, and the fleet waits for it."""
        pool = self._redis.connection_pool
        connection = pool.get_connection()
        try:
            connection.send_command("EVALSHA", script.sha, len(keys), *keys, *arguments)  # type: ignore[no-untyped-call]
            answer: list[Any] = connection.read_response()
        except self._forgotten:
            answer = script(keys=keys, args=arguments)
        finally:
            pool.release(connection)
        return answer


@cache
def _source(part: str) -> str:
    return (_LUA / f"{part}.lua").read_text()


def key_of(name: str) -> str:
    """Return the key of a breaker's hash; the braces keep it apart from the keys that are no breaker's."""
    return f"{BREAKER}{{{name}}}"


def keys_of(name: str) -> list[str]:
    """Return all keys that are this breaker's own: the hash, permits, calls, votes."""
    own = key_of(name)
    return [own, f"{own}:permits", f"{own}:calls", f"{own}:votes"]


@lru_cache(maxsize=1_000)
def as_json(options: BreakerOptions | None) -> str:
    """Return the options as the scripts read them: durations in ms, what was not given left out; empty for None."""
    if options is None:
        return ""
    told: dict[str, Any] = {name: getattr(options, name) for name in _AS_THEY_ARE}
    told |= {name: max(1, round(getattr(options, name) * 1000)) for name in _DURATIONS}
    told["window_calls"] = options.calls_in_window
    told["window"] = None if options.window_seconds is None else round(options.window_seconds * 1000)
    told["ramp"] = list(options.ramp) or None
    return json.dumps({name: value for name, value in told.items() if value is not None}, sort_keys=True)


def _batches(calls: Iterable[Ended]) -> list[int]:
    return [
        number for each in calls for number in (each.ok_before, each.calls, int(each.result == "failed"), each.slow, each.failed_before)
    ]


def _last_reason(calls: Sequence[Ended]) -> str:
    return _sentence(next((each.reason for each in reversed(calls) if each.reason), ""))


def _sentence(text: str) -> str:
    """Return what fits into the history: 600 characters that UTF-8 has."""
    return text[:600].encode(errors="replace").decode()


def _version(found: bytes | str | Exception | None) -> int:
    if isinstance(found, Exception):
        if not is_about_one_key(found):
            raise found
        return 0
    return (version_in(found) if found else None) or 0


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
