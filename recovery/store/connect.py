"""The connection to Redis or Valkey that the platform wants: short patience and no silent repeats.

redis-py repeats a command ten times by default; after a lost reply that makes a lock deny its own holder. Here a
command is sent once, and the caller hears the truth.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from recovery.errors import ConfigurationError, StoreUnavailable
from recovery.settings import redact

CONNECT_TIMEOUT = 1.0
"""Seconds to wait for a connection."""
REPLY_TIMEOUT = 2.0
"""Seconds to wait for a reply; what the platform asks takes microseconds."""


def connect(url: str) -> Redis:
    """Return a client for `url` (`redis://`, `rediss://`, `unix://`) that answers bytes; it connects at the first command.

    Raises `ConfigurationError` if `url` is none of these.
    """
    try:
        return Redis.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=REPLY_TIMEOUT,
            socket_connect_timeout=CONNECT_TIMEOUT,
            protocol=2,  # the same replies from every redis-py and every server
        )
    except ValueError as error:
        raise ConfigurationError(f"the Redis URL '{redact(url)}' is not valid: {error}") from error


@contextmanager
def translated() -> Iterator[None]:
    """Turn every error of redis-py into `StoreUnavailable`."""
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"Redis did not answer: {error}") from error
