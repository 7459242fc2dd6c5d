"""Cooldown locks in Redis or Valkey: one key per service and strategy, which the server itself lets expire."""

import math
from collections.abc import Collection
from typing import Any

from redis import Redis

from recovery.store.connect import translated
from recovery.store.script import Script

ACQUIRE = """
-- Take a cooldown lock, or find that the caller has it already (then its end stays).
-- KEYS[1] recovery:cooldown:{<service>}:<strategy>   string: the holder; expires when the cooldown ends
-- ARGV[1] holder   ARGV[2] milliseconds, 0 to only ask
if ARGV[2] ~= '0' and redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 1
end
local current = redis.call('GET', KEYS[1])
return (not current or current == ARGV[1]) and 1 or 0
"""

REMAINING = """
-- Tell how long each lock lasts.
-- KEYS[n] recovery:cooldown:{<service>}:<strategy>
-- Returns milliseconds per key; below 1 where there is no lock
local left = {}
for i, key in ipairs(KEYS) do
  left[i] = redis.call('PTTL', key)
end
return left
"""

RELEASE = """
-- Free a lock if the caller has it.
-- KEYS[1] recovery:cooldown:{<service>}:<strategy>
-- ARGV[1] holder
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


def cooldown_key(service: str, strategy: str) -> str:
    """Return the key of one cooldown lock; the braces keep the locks of one service in one slot of a cluster."""
    return f"recovery:cooldown:{{{service}}}:{strategy}"


class RedisCooldowns:
    """Implements `ports.Cooldowns`: one key per service and strategy, which Redis itself lets expire.

    Args:
        redis: from `connect`.
    """

    def __init__(self, redis: Redis) -> None:
        self._acquire = Script(redis, ACQUIRE)
        self._remaining = Script(redis, REMAINING)
        self._release = Script(redis, RELEASE)

    def acquire(self, service: str, strategy: str, holder: str, seconds: float) -> bool:
        """Take the lock for `seconds`; True also when `holder` has it already, without extending it."""
        with translated():
            return bool(self._acquire(keys=[cooldown_key(service, strategy)], args=[holder, _milliseconds(seconds)]))

    def remaining(self, service: str, strategies: Collection[str]) -> dict[str, float]:
        """Return the seconds left for each strategy that is locked, in one round trip."""
        names = list(strategies)
        if not names:
            return {}
        with translated():
            left: Any = self._remaining(keys=[cooldown_key(service, name) for name in names])
        return {name: int(milliseconds) / 1000 for name, milliseconds in zip(names, left, strict=True) if int(milliseconds) > 0}

    def release(self, service: str, strategy: str, holder: str) -> None:
        """Free the lock if `holder` has it."""
        with translated():
            self._release(keys=[cooldown_key(service, strategy)], args=[holder])


def _milliseconds(seconds: float) -> int:
    return math.ceil(max(seconds, 0.0) * 1000)
