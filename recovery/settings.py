"""Where the platform finds its parts: URLs, the data folder and the configuration file, from `RECOVERY_*` environment variables."""

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

SOCKET_PATH_LIMIT = 100
"""A Unix socket's path must stay below 104 bytes on macOS and 108 on Linux."""


class Settings(BaseSettings):
    """Settings of one process, read from the environment when it is made and never changed."""

    model_config = SettingsConfigDict(env_prefix="RECOVERY_", frozen=True, extra="ignore")

    redis_url: str | None = None
    """`redis://`, `rediss://` or `unix://`; None: the embedded Valkey."""
    database_url: str | None = None
    """An SQLAlchemy URL; None: SQLite in the data folder."""
    broker_url: str | None = None
    """A Celery broker URL; None: the same Redis."""
    config: Path = Path("recovery.toml")
    """The file that declares the fleet."""
    data_dir: Path = Field(default=Path(".recovery"))
    """Private folder for the embedded Valkey, SQLite, logs and pid files; mode 0700."""
    log_format: str = "text"
    """`text` (key=value lines) or `json`."""
    log_level: str = "INFO"
    flower_port: int = 5555
    """Preferred port; `up` takes the next free one if it is taken."""

    @cached_property
    def home(self) -> Path:
        """Return the data folder as an absolute path."""
        return Path(os.path.abspath(self.data_dir))

    @property
    def embedded(self) -> bool:
        """Say whether the platform runs its own Valkey."""
        return self.redis_url is None

    @cached_property
    def socket(self) -> Path:
        """Return the embedded Valkey's socket; in the system's temporary folder if the data folder's path is too long."""
        preferred = self.home / "valkey.sock"
        if len(os.fsencode(preferred)) <= SOCKET_PATH_LIMIT:
            return preferred
        digest = hashlib.sha256(os.fsencode(self.home)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"recovery-{os.getuid()}-{digest}" / "valkey.sock"

    @property
    def redis(self) -> str:
        """Return the URL for redis-py."""
        return self.redis_url or f"unix://{self.socket}"

    @property
    def broker(self) -> str:
        """Return the URL for Celery; a `unix://` Redis URL becomes kombu's `redis+socket://`."""
        if self.broker_url:
            return self.broker_url
        scheme, _, rest = self.redis.partition("://")
        return f"redis+socket://{rest}" if scheme == "unix" else self.redis

    @property
    def database(self) -> str:
        """Return the SQLAlchemy URL of the history."""
        return self.database_url or f"sqlite:///{self.home / 'history.db'}"


def redact(url: str) -> str:
    """Return `url` with its password replaced by `***`, fit for logs and tables."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))
