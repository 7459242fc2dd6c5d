"""The last signs of life that services left in Redis or Valkey."""

from datetime import UTC, datetime
from typing import Any

from redis import Redis

from recovery.store.connect import translated


class RedisHeartbeats:
    """Implements `ports.Heartbeats`: `recovery:heartbeat:<service>` holds epoch seconds as text.

    Args:
        redis: from `connect`.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def last(self, service: str) -> datetime | None:
        """Return when `service` last reported in, or None if it never did (or wrote something that is no time)."""
        with translated():
            value: Any = self._redis.get(f"recovery:heartbeat:{service}")
        if value is None:
            return None
        try:
            return datetime.fromtimestamp(float(value), UTC)
        except (ValueError, OverflowError, OSError):
            return None
