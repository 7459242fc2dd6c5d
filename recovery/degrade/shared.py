"""Degradations and endpoints in Redis, where every service of the fleet reads them.

Each change is one Lua script: compare the fence, write, keep the index, tell the services.
"""

import json
from typing import cast

from redis import Redis
from redis.commands.core import Script as AnyScript

from recovery.degrade.keys import (
    DEGRADATION,
    DEGRADATION_CHANGED,
    DEGRADATIONS,
    ENDPOINT,
    ENDPOINT_CHANGED,
    ENDPOINTS,
    RECOVERY,
    member_of,
    texts,
)
from recovery.degrade.plain import as_json, ended, outranks, readable, readable_endpoint
from recovery.degrade.reach import reaching_redis
from recovery.models import Degradation, Endpoint, utcnow
from recovery.ports import Clock

_NEWER_IN_FORCE = """
local function newer_in_force(key, fence)
  local current = redis.call('GET', key)
  if not current or fence == '' then return false, current end
  local is_json, value = pcall(cjson.decode, current)  -- what nobody can read is no newer than anything
  local held = is_json and type(value) == 'table' and tonumber(value.fence)
  return held and held > tonumber(fence), current
end
"""

_WRITE_DEGRADATION = """
-- KEYS[1] recovery:degradation:<member>   KEYS[2] recovery:degradations
-- ARGV[1] member   ARGV[2] value as JSON   ARGV[3] milliseconds until nothing is left of it   ARGV[4] channel
local function write()
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
  if tonumber(ARGV[3]) > 0 then
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
    redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
  else
    redis.call('DEL', KEYS[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
  end
  redis.call('PUBLISH', ARGV[4], ARGV[1])
  return 1
end
"""

PUT_DEGRADATION = (
    _NEWER_IN_FORCE
    + _WRITE_DEGRADATION
    + """
-- ARGV[5] fence
-- Returns 1, or 0 if a higher fence is in force. One that is over already ends the one in force.
if newer_in_force(KEYS[1], ARGV[5]) then return 0 end
return write()
"""
)

REPLACE_DEGRADATION = (
    _WRITE_DEGRADATION
    + """
-- ARGV[5] the value that is to be replaced
-- Returns 1, or 0 if another value is there by now.
if redis.call('GET', KEYS[1]) ~= ARGV[5] then return 0 end
return write()
"""
)

CLEAR_DEGRADATION = (
    _NEWER_IN_FORCE
    + """
-- KEYS[1] recovery:degradation:<member>   KEYS[2] recovery:degradations
-- ARGV[1] member   ARGV[2] fence, '' for any   ARGV[3] channel
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

    A degradation's key expires with the last of it, so that it ends also when nobody is left to end it. `clock` only turns
    moments into durations; the expiry itself is Redis's.
    """

    def __init__(self, redis: Redis, clock: Clock = utcnow) -> None:
        self._redis = redis
        self._clock = clock
        self._put = redis.register_script(PUT_DEGRADATION)
        self._replace = redis.register_script(REPLACE_DEGRADATION)
        self._clear = redis.register_script(CLEAR_DEGRADATION)

    def current(self, service: str, layer: str = RECOVERY) -> Degradation | None:
        """Return what this layer lets `service` do without, None when nothing."""
        found = self._read(member_of(service, layer))
        return next(iter(readable([found] if found else [])), None)

    def all(self) -> list[Degradation]:
        """Return every degradation there is, by service and layer; what cannot be read is left out, and logged."""
        with reaching_redis("list the degradations"):
            members = sorted(texts(cast("list[bytes]", self._redis.zrange(DEGRADATIONS, 0, -1))))
            values = cast("list[bytes | None]", self._redis.mget([DEGRADATION + member for member in members])) if members else []
        return readable(texts(values))

    def put(self, degradation: Degradation) -> bool:
        """Put it in force until its `until` and tell the services; False if its layer has one with a higher fence."""
        with reaching_redis("take the degradation"):
            return self._write(self._put, degradation, degradation.fence)

    def end(self, service: str, fence: int | None, layer: str = RECOVERY) -> bool:
        """Let it end from now on, by its ramp if it has one, and tell the services; False if there is none, or one with a higher fence."""
        member = member_of(service, layer)
        while found := self._read(member):
            current = next(iter(readable([found])), None)
            if current is None or outranks(current, fence):
                return False
            over = ended(current, self._clock())
            with reaching_redis("end the degradation"):
                if over == current or self._write(self._replace, over, found):
                    return True
        return False

    def clear(self, service: str, fence: int | None, layer: str = RECOVERY) -> bool:
        """End it at once, without its ramp, and tell the services; False if there is none, or one with a higher fence."""
        member = member_of(service, layer)
        arguments: list[str | int] = [member, "" if fence is None else fence, DEGRADATION_CHANGED]
        with reaching_redis("end the degradation"):
            return bool(self._clear(keys=[DEGRADATION + member, DEGRADATIONS], args=arguments))

    def _read(self, member: str) -> str | None:
        with reaching_redis("tell the degradation"):
            return next(iter(texts([cast("bytes | None", self._redis.get(DEGRADATION + member))])), None)

    def _write(self, script: AnyScript, degradation: Degradation, condition: str | int) -> bool:
        member = member_of(degradation.service, degradation.layer)
        left = int((degradation.gone_at - self._clock()).total_seconds() * 1000)
        arguments: list[str | int] = [member, as_json(degradation), left, DEGRADATION_CHANGED, condition]
        return bool(script(keys=[DEGRADATION + member, DEGRADATIONS], args=arguments))


class RedisEndpoints:
    """Endpoints in Redis; implements `ports.Endpoints`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._switch = redis.register_script(SWITCH_ENDPOINT)
        self._clear = redis.register_script(CLEAR_ENDPOINT)

    def current(self, service: str) -> Endpoint | None:
        """Return the backup in use, None for the primary; a value that cannot be read is passed over, and logged."""
        with reaching_redis("tell the endpoint"):
            found = texts([cast("bytes | None", self._redis.get(ENDPOINT + service))])
        return readable_endpoint(found[0]) if found else None

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
