"""Check `redis`: does a Redis or Valkey answer, in the right role, with memory to spare?"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, ByteSize, Field
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from recovery.config.base import Declaration
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.models import Category, FailureType, JsonObject
from recovery.ports import CheckKind, Finding, Heartbeats


def _redis_address(text: str) -> str:
    if not text.startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("must begin with redis://, rediss:// or unix://")
    return text


RedisUrl = Annotated[str, AfterValidator(_redis_address)]
"""Where a Redis or Valkey listens, with the number of the database as the path (or `?db=` for a socket)."""


class RedisOptions(Declaration):
    """`type = "redis"`."""

    url: RedisUrl
    role: Literal["master", "replica"] | None = None
    """Fail when it has the other one; a replica must also be connected to its master."""
    max_memory_percent: Annotated[float, Field(gt=0, le=100)] | None = None
    """Percent of the server's own `maxmemory`; no failure when that is not set."""
    max_memory: ByteSize | None = None
    """Bytes in use, like `"512MiB"`."""


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[Redis]:
    """Give a fresh connection that never retries: a check wants to see the first failure."""
    client: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), decode_responses=False)
    try:
        yield client
    finally:
        await client.aclose()


@dataclass(frozen=True, slots=True)
class RedisCheck:
    """PING, then INFO if there is something to compare."""

    options: RedisOptions

    async def probe(self) -> Finding:
        """Ask once."""
        options = self.options
        try:
            async with connection(options.url) as client:
                await client.ping()
                role = await client.info("replication") if options.role else {}
                wants_memory = options.max_memory_percent is not None or options.max_memory is not None
                memory = await client.info("memory") if wants_memory else {}
        except RedisError as error:
            return Finding(ok=False, message=str(error) or type(error).__name__, type=FailureType.ERROR)
        return judge_role(options, role) or judge_memory(options, memory) or Finding(ok=True)


def judge_role(options: RedisOptions, info: JsonObject) -> Finding | None:
    """Return a failure if `INFO replication` shows another role than wanted."""
    if options.role is None:
        return None
    role = "replica" if info.get("role") == "slave" else str(info.get("role"))
    if role != options.role:
        return Finding(ok=False, message=f"is a {role}, wanted a {options.role}", details={"role": role})
    if role == "replica" and info.get("master_link_status") != "up":
        return Finding(ok=False, message="is a replica that has lost its master", details={"role": role})
    return None


def judge_memory(options: RedisOptions, info: JsonObject) -> Finding | None:
    """Return a failure if `INFO memory` shows more in use than allowed."""
    used, limit = _number(info, "used_memory"), _number(info, "maxmemory")
    percent = 100 * used / limit if limit else 0.0
    details: JsonObject = {"used_memory": used, "maxmemory": limit}
    if options.max_memory_percent is not None and percent > options.max_memory_percent:
        message = f"uses {percent:.0f} % of its maxmemory, wanted at most {options.max_memory_percent:g} %"
    elif options.max_memory is not None and used > options.max_memory:
        message = f"uses {ByteSize(used).human_readable()}, wanted at most {options.max_memory.human_readable()}"
    else:
        return None
    return Finding(ok=False, message=message, category=Category.MEMORY_PRESSURE, type=FailureType.RESOURCE_LIMIT, details=details)


def _number(info: JsonObject, key: str) -> int:
    value = info.get(key)
    return int(value) if isinstance(value, int | float | str) else 0


def build(_service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> RedisCheck:
    """Return the declared check."""
    return RedisCheck(RedisOptions.model_validate(check.options))


REDIS = CheckKind("redis", RedisOptions, build, Category.CACHE)
