"""Turns what redis-py raises into the one error that the ports promise."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from recovery.errors import StoreUnavailable


@contextmanager
def reaching_redis(what: str) -> Iterator[None]:
    """Raise `StoreUnavailable` with what was attempted in place of any error of redis-py or the socket."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"Redis did not {what}: {str(error) or type(error).__name__}") from error
