"""Degradations and endpoints in Redis, where every service of the fleet reads them.

Each change is one Lua script: compare the fence, write, keep the index, tell the services.
"""

import json
from datetime import UTC, datetime
from typing import Any, cast

from redis import Redis

from recovery.degrade.keys import (
    DEGRADATION,
    DEGRADATION_CHANGED,
    DEGRADATIONS,
    ENDPOINT,
    ENDPOINT_CHANGED,
    ENDPOINTS,
    texts,
)
from recovery.degrade.reach import reaching_redis
from recovery.models import Degradation, Endpoint, Level, utcnow
from recovery.ports import Clock

_NEWER_IN_FORCE = """
local function newer_in_force(key, fence)
  local current = redis.call('GET', key)
  return current and cjson.decode(current).fence > tonumber(fence), current
end
"""

PUT_DEGRADATION = (
    _NEWER_IN_FORCE
    + """
-- KEYS[1] recovery:degradation:<service>   KEYS[2] recovery:degradations
-- ARGV    service, value as JSON, fence, milliseconds until it ends, channel
-- Returns 1, or 0 if a higher fence is in force. One that is over already ends the one in force.
if newer_in_force(KEYS[1], ARGV[3]) then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
if tonumber(ARGV[4]) > 0 then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[4])
  redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[1])
else
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
redis.call('PUBLISH', ARGV[5], ARGV[1])
return 1
"""
)

CLEAR_DEGRADATION = (
    _NEWER_IN_FORCE
    + """
-- KEYS[1] recovery:degradation:<service>   KEYS[2] recovery:degradations
-- ARGV    service, fence, channel
-- Returns 1, or 0 if there is none or a higher fence is in force.
local newer, current = newer_in_force(KEYS[1], ARGV[2])
if newer or not current then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
"""
)

SWITCH_ENDPOINT = (
    _NEWER_IN_FORCE
    + """
-- KEYS[1] recovery:endpoint:<service>   KEYS[2] recovery:endpoints
-- ARGV    service, value as JSON, fence, channel
-- Returns 1, or 0 if a higher fence is in force.
if newer_in_force(KEYS[1], ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[4], ARGV[1])
return 1
"""
)

CLEAR_ENDPOINT = (
    _NEWER_IN_FORCE
    + """
-- KEYS[1] recovery:endpoint:<service>   KEYS[2] recovery:endpoints
-- ARGV    service, fence, channel
-- Returns 1, or 0 if there is none or a higher fence is in force.
local newer, current = newer_in_force(KEYS[1], ARGV[2])
if newer or not current then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('PUBLISH', ARGV[3], ARGV[1])
return 1
"""
)


class RedisDegradations:
    """Degradations in Redis; implements `ports.Degradations`.

    A degradation's key expires with it, so that it ends also when nobody is left to end it. `clock` only turns `until`
    into a duration; the expiry itself is Redis's.
    """

    def __init__(self, redis: Redis, clock: Clock = utcnow) -> None:
        self._redis = redis
        self._clock = clock
        self._put = redis.register_script(PUT_DEGRADATION)
        self._clear = redis.register_script(CLEAR_DEGRADATION)

    def current(self, service: str) -> Degradation | None:
        """Return what `service` does without now, None when it is normal."""
        with reaching_redis("tell the degradation"):
            found = texts([cast("bytes | None", self._redis.get(DEGRADATION + service))])
        return _degradation(found[0]) if found else None

    def all(self) -> list[Degradation]:
        """Return every degradation in force, by service."""
        with reaching_redis("list the degradations"):
            services = texts(cast("list[bytes]", self._redis.zrange(DEGRADATIONS, 0, -1)))
            values = (
                cast("list[bytes | None]", self._redis.mget([DEGRADATION + service for service in sorted(services)])) if services else []
            )
        return [_degradation(value) for value in texts(values)]

    def put(self, degradation: Degradation) -> bool:
        """Put it in force until its `until` and tell the services; False if one with a higher fence is in force."""
        remaining = int((degradation.until - self._clock()).total_seconds() * 1000)
        value = {
            "service": degradation.service,
            "level": degradation.level.value,
            "since": degradation.since.timestamp(),
            "until": degradation.until.timestamp(),
            "features_off": list(degradation.features_off),
            "capabilities": degradation.capabilities,
            "reason": degradation.reason,
            "recovery_id": degradation.recovery_id,
            "fence": degradation.fence,
        }
        arguments: list[str | int] = [degradation.service, json.dumps(value), degradation.fence, remaining, DEGRADATION_CHANGED]
        with reaching_redis("take the degradation"):
            return bool(self._put(keys=[DEGRADATION + degradation.service, DEGRADATIONS], args=arguments))

    def clear(self, service: str, fence: int) -> bool:
        """End it and tell the services; False if there is none, or one with a higher fence."""
        with reaching_redis("end the degradation"):
            return bool(self._clear(keys=[DEGRADATION + service, DEGRADATIONS], args=[service, fence, DEGRADATION_CHANGED]))


class RedisEndpoints:
    """Endpoints in Redis; implements `ports.Endpoints`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._switch = redis.register_script(SWITCH_ENDPOINT)
        self._clear = redis.register_script(CLEAR_ENDPOINT)

    def current(self, service: str) -> Endpoint | None:
        """Return the backup in use, None for the primary."""
        with reaching_redis("tell the endpoint"):
            found = texts([cast("bytes | None", self._redis.get(ENDPOINT + service))])
        return _endpoint(found[0]) if found else None

    def switch(self, endpoint: Endpoint) -> bool:
        """Send callers to a backup; False if a switch with a higher fence is in force."""
        value = {
            "service": endpoint.service,
            "name": endpoint.name,
            "url": endpoint.url,
            "since": endpoint.since.timestamp(),
            "recovery_id": endpoint.recovery_id,
            "fence": endpoint.fence,
        }
        arguments: list[str | int] = [endpoint.service, json.dumps(value), endpoint.fence, ENDPOINT_CHANGED]
        with reaching_redis("switch the endpoint"):
            return bool(self._switch(keys=[ENDPOINT + endpoint.service, ENDPOINTS], args=arguments))

    def clear(self, service: str, fence: int) -> bool:
        """Send callers to the primary again; False if they are there, or a higher fence is in force."""
        with reaching_redis("switch the endpoint back"):
            return bool(self._clear(keys=[ENDPOINT + service, ENDPOINTS], args=[service, fence, ENDPOINT_CHANGED]))


def _degradation(value: str) -> Degradation:
    fields: dict[str, Any] = json.loads(value)
    return Degradation(
        service=fields["service"],
        level=Level(fields["level"]),
        since=_moment(fields["since"]),
        until=_moment(fields["until"]),
        features_off=tuple(fields["features_off"]),
        capabilities=dict(fields["capabilities"]),
        reason=fields["reason"],
        recovery_id=fields["recovery_id"],
        fence=fields["fence"],
    )


def _endpoint(value: str) -> Endpoint:
    fields: dict[str, Any] = json.loads(value)
    return Endpoint(**{**fields, "since": _moment(fields["since"])})


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
