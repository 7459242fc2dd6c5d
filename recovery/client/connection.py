"""How the client reaches Redis: the URL it is given or finds, and connections that give up early."""

import os
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from recovery.client.redaction import redact
from recovery.errors import ConfigurationError

if TYPE_CHECKING:
    from redis import Redis

SCHEMES = ("redis://", "rediss://", "unix://")
TIMEOUT = 0.4
"""Seconds that a connect, a read or a write may take; two of them stay below the second that a caller may lose."""

_NEEDED = (
    *("redis", "redis.backoff", "redis.retry", "redis.exceptions"),
    *("email.parser", "encodings.idna", "hmac", "secrets"),  # redis-py imports these with its first connection
    *("sqlite3", "linecache"),
)


def resolve_url(url: str | None) -> str:
    """Return `url`, else `RECOVERY_REDIS_URL`, else the embedded platform's socket; raises `ConfigurationError` if it is no Redis URL."""
    found = url or os.environ.get("RECOVERY_REDIS_URL")
    if not found:
        from recovery.settings import Settings  # only here, because it brings pydantic with it

        found = Settings().redis
    if not found.startswith(SCHEMES):
        raise ConfigurationError(f"Redis URL {redact(found)!r}: must begin with {', '.join(SCHEMES)}.")
    from urllib.parse import urlsplit  # late, like redis-py: importing the client must stay cheap

    try:
        _ = urlsplit(found).port
    except ValueError as error:
        raise ConfigurationError(f"Redis URL {redact(found)!r}: {error}.") from error
    return found


def spool_folder(url: str | None) -> Path:
    """Return where undeliverable reports wait: in the platform's data folder if it is this machine's, else in the user's state folder."""
    data = os.environ.get("RECOVERY_DATA_DIR")
    if data or not (url or os.environ.get("RECOVERY_REDIS_URL")):
        return Path(os.path.abspath(data or ".recovery")) / "spool"
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - Path.expanduser raises without a home
    return Path(state) / "celery-recovery" / "spool"


def load_modules() -> None:
    """Import what the background threads need, on the thread that makes the client.

    Not with the client's module, because importing that must stay cheap; not in the background, because a process forked in
    the middle of an import finds half a module for ever.
    """
    for module in _NEEDED:
        import_module(module)


def connect(url: str, timeout: float = TIMEOUT) -> "Redis":
    """Return a connection pool that never retries and whose every wait ends after `timeout` seconds."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=timeout, socket_connect_timeout=timeout, health_check_interval=0)


class Backoff:
    """Says when to try again after a failure: 0.5 s, doubling up to 5 s. Used by one thread."""

    def __init__(self) -> None:
        self._wait = 0.0
        self.until = 0.0

    @property
    def waiting(self) -> float:
        """Return the seconds left to wait, 0 if it may be tried now."""
        return max(0.0, self.until - time.monotonic())

    def failed(self) -> bool:
        """Note a failure; True if it is the first after a success."""
        first = self._wait == 0.0
        self._wait = min(5.0, self._wait * 2 or 0.5)
        self.until = time.monotonic() + self._wait
        return first

    def succeeded(self) -> bool:
        """Note a success; True if it is the first after a failure."""
        first = self._wait > 0.0
        self._wait = self.until = 0.0
        return first
