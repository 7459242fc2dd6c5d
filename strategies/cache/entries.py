"""The entries of one cache: find the corrupted ones, and replace exactly those in one atomic script per batch.

Keys in the cache's own Redis: those that `match` names, and `recovery:rebuild:<service>`, the single-flight lock. The lock
holds the fence of the attempt that rebuilds; the script refuses to write for an older one, so a worker that was frozen in the
middle cannot write over its successor's work.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from recovery.errors import StepFailed
from recovery.settings import redact

LOCK = "recovery:rebuild:"
OWN = b"recovery:"
"""Keys with this prefix are the platform's, never cache entries."""

CLAIM = """
-- KEYS[1] lock   ARGV fence, milliseconds
-- Returns 1 if the lock is free, ours or an older attempt's.
local holder = tonumber(redis.call('GET', KEYS[1]) or '0')
if holder > tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""

RELEASE = """
-- KEYS[1] lock   ARGV fence
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

REPLACE = """
-- KEYS[1] lock   KEYS[2..] entries
-- ARGV[1] fence, then per entry: SHA-1 of the corrupted value, 'set' or 'drop', the new value
-- Replaces an entry only if it still holds the very value that was found corrupted (an entry of another type: SHA-1 '').
-- Its time to live stays as it was. Returns {replaced, dropped, changed by somebody else}, or an empty list for an old fence.
if tonumber(redis.call('GET', KEYS[1]) or '0') > tonumber(ARGV[1]) then return {} end
local replaced, dropped, changed = 0, 0, 0
for i = 2, #KEYS do
  local seen, verb, value = ARGV[3 * i - 4], ARGV[3 * i - 3], ARGV[3 * i - 2]
  local kind, same = redis.call('TYPE', KEYS[i]).ok, false
  if kind == 'string' then same = redis.sha1hex(redis.call('GET', KEYS[i])) == seen else same = kind ~= 'none' and seen == '' end
  if not same then
    changed = changed + 1
  elseif verb == 'drop' then
    redis.call('UNLINK', KEYS[i])
    dropped = dropped + 1
  else
    local ttl = redis.call('PTTL', KEYS[i])
    if ttl > 0 then redis.call('SET', KEYS[i], value, 'PX', ttl) else redis.call('SET', KEYS[i], value) end
    replaced = replaced + 1
  end
end
return {replaced, dropped, changed}
"""


@dataclass(frozen=True, slots=True)
class Corrupted:
    """One entry that breaks the rule."""

    key: bytes
    fault: str
    seen: str
    """SHA-1 of the value that was looked at; empty for an entry that is not a string."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What one batch came to."""

    replaced: int = 0
    dropped: int = 0
    changed: int = 0
    """Entries that somebody else had changed since they were found; left alone."""

    def __add__(self, other: "Replaced") -> "Replaced":
        return Replaced(self.replaced + other.replaced, self.dropped + other.dropped, self.changed + other.changed)


class Entries:
    """The entries of `service` at `url` whose keys match `match`. Raises `StepFailed` if the cache does not answer."""

    def __init__(self, service: str, url: str, match: str, timeout: float) -> None:
        self._lock = f"{LOCK}{service}"
        self._url = url
        self._match = match
        self._redis = Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0))

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def scan(self, fault: Callable[[bytes | None], str | None], batch: int) -> Iterator[tuple[int, list[Corrupted]]]:
        """Yield, per `batch` keys or so, how many entries were looked at and which of them are corrupted. Only reads."""
        cursor = None
        while cursor != 0:
            with self._reaching():
                cursor, keys = self._redis.scan(cursor or 0, match=self._match, count=batch)
            own = [key for key in dict.fromkeys(cast("list[bytes]", keys)) if not key.startswith(OWN)]
            yield len(own), list(self._corrupted(own, fault)) if own else []

    @contextmanager
    def held(self, fence: int, seconds: float) -> Iterator[None]:
        """Hold the single-flight lock in the block, for `seconds` at most; raises `StepFailed` if a newer attempt has it."""
        with self._reaching():
            if not self._redis.eval(CLAIM, 1, self._lock, str(fence), str(int(seconds * 1000))):
                raise StepFailed("a newer attempt is rebuilding this cache")
        try:
            yield
        finally:
            with self._reaching():
                self._redis.eval(RELEASE, 1, self._lock, str(fence))

    def replace(self, corrupted: list[Corrupted], values: Mapping[bytes, bytes], fence: int) -> Replaced:
        """Replace each corrupted entry by its value, or drop it if there is none; raises `StepFailed` for an old fence."""
        arguments: list[str | bytes] = [str(fence)]
        for entry in corrupted:
            arguments += [entry.seen, "set" if entry.key in values else "drop", values.get(entry.key, b"")]
        keys: list[str | bytes] = [self._lock, *(entry.key for entry in corrupted)]
        with self._reaching():
            counts = cast("list[int]", self._redis.eval(REPLACE, len(keys), *keys, *arguments))
        if not counts:
            raise StepFailed("a newer attempt is rebuilding this cache")
        return Replaced(*counts)

    def _corrupted(self, keys: list[bytes], fault: Callable[[bytes | None], str | None]) -> Iterator[Corrupted]:
        with self._reaching():
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.get(key)
            values = pipeline.execute(raise_on_error=False)
        for key, value in zip(keys, values, strict=True):
            if isinstance(value, RedisError):
                if not str(value).startswith("WRONGTYPE"):
                    raise StepFailed(f"the cache at {redact(self._url)} cannot be read: {value}")
                yield Corrupted(key, "is not a string", "")
            elif value is not None and (trouble := fault(value)):
                yield Corrupted(key, trouble, hashlib.sha1(value).hexdigest())  # noqa: S324 - what Lua has; compares, protects nothing

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise StepFailed(f"the cache at {redact(self._url)} does not answer: {error}") from error
