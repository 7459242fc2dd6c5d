"""Check `cache`: are the entries of a Redis or Valkey cache sound? Reads them all (up to `max_keys`) and changes nothing."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, cast

from pydantic import Field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from recovery.config.base import Declaration
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.checks.redis import RedisUrl, connection
from recovery.integrity import IntegrityRule, fault
from recovery.models import Category, FailureType, JsonObject
from recovery.ports import CheckKind, Finding, Heartbeats

BATCH = 500
"""Keys per SCAN and MGET."""
MOST_LISTED = 1_000
"""Corrupted keys that a finding lists; the count is always complete."""


class CacheOptions(Declaration):
    """`type = "cache"`."""

    url: RedisUrl
    match: Annotated[str, Field(min_length=1)] = "*"
    """Which keys, as a glob."""
    rule: IntegrityRule = Field(default_factory=IntegrityRule)
    """What a sound value looks like."""
    required: tuple[str, ...] = ()
    """Keys that must be there, whether `match` covers them or not."""
    max_keys: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Keys that are looked at; the rest is not checked, which the details say."""


@dataclass(slots=True)
class _Tally:
    checked: int = 0
    partial: bool = False
    corrupted: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CacheCheck:
    """SCAN the keys and hold every value against the rule."""

    options: CacheOptions

    async def probe(self) -> Finding:
        """Look at every entry once. An unreachable server is a failure of category `cache`, not a corruption."""
        tally = _Tally()
        try:
            async with connection(self.options.url) as client:
                await self._scan(client, tally)
                missing = await self._missing(client)
        except RedisError as error:
            return Finding(ok=False, message=str(error) or type(error).__name__, category=Category.CACHE, type=FailureType.ERROR)
        return _finding(tally, missing)

    async def _scan(self, client: Redis, tally: _Tally) -> None:
        async for keys in _batches(client, self.options.match):
            room = self.options.max_keys - tally.checked
            tally.partial = len(keys) > room
            if room:
                await self._examine(client, keys[:room], tally)
            if tally.partial:
                return

    async def _examine(self, client: Redis, keys: Sequence[bytes], tally: _Tally) -> None:
        tally.checked += len(keys)
        values = cast(list[bytes | None], await client.mget(keys))
        kinds = await _types(client, [key for key, value in zip(keys, values, strict=True) if value is None])
        for key, value in zip(keys, values, strict=True):
            if value is not None:
                why = fault(value, self.options.rule)
            else:  # MGET says nil for what is not a string, and for what expired since the SCAN
                why = None if kinds[key] == "none" else f"is a {kinds[key]}, not a string"
            if why:
                tally.corrupted[readable(key)] = why

    async def _missing(self, client: Redis) -> list[str]:
        return [key for key in self.options.required if not await client.exists(key)]


def readable(key: bytes) -> str:
    r"""Return a key as text; bytes that are not UTF-8 become `\xNN`."""
    return key.decode(errors="backslashreplace")


async def _batches(client: Redis, match: str) -> AsyncIterator[list[bytes]]:
    cursor = 0
    while True:
        cursor, keys = await client.scan(cursor, match=match, count=BATCH)
        found = cast(list[bytes], keys)  # SCAN may return more than asked for
        for start in range(0, len(found), BATCH):
            yield found[start : start + BATCH]
        if cursor == 0:
            return


async def _types(client: Redis, keys: Sequence[bytes]) -> dict[bytes, str]:
    if not keys:
        return {}
    async with client.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.type(key)
        return {key: kind.decode() for key, kind in zip(keys, await pipe.execute(), strict=True)}


def _finding(tally: _Tally, missing: list[str]) -> Finding:
    details: JsonObject = {"checked": tally.checked, "partial": tally.partial}
    if not tally.corrupted and not missing:
        return Finding(ok=True, details=details)
    listed = sorted(tally.corrupted)[:MOST_LISTED]
    details |= {"corrupted": [*listed], "corrupted_count": len(tally.corrupted), "missing": [*missing[:MOST_LISTED]]}
    said = []
    if tally.corrupted:
        first = listed[0]
        said.append(f"{len(tally.corrupted)} of {tally.checked} entries are corrupted ('{first}' {tally.corrupted[first]})")
    if missing:
        said.append(f"{len(missing)} required keys are missing ('{missing[0]}')")
    return Finding(ok=False, message="; ".join(said), category=Category.CACHE_CORRUPTION, type=FailureType.ANOMALY, details=details)


def build(_service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> CacheCheck:
    """Return the declared check."""
    return CacheCheck(CacheOptions.model_validate(check.options))


CACHE = CheckKind("cache", CacheOptions, build, Category.CACHE)
