"""Fixtures for every kind of test: a real Valkey, private folders, a database URL."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import structlog
from hypothesis import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers.rooms import REDIS, own_redis
from tests.support import ValkeyServer

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")  # nobody's run fails for another one's change; new examples: pytest --hypothesis-profile=default


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in ("REDIS_URL", "DATABASE_URL", "BROKER_URL", "CONFIG", "DATA_DIR", "LOG_FORMAT", "LOG_LEVEL", "FLOWER_PORT"):
        monkeypatch.delenv(f"RECOVERY_{name}", raising=False)
    for name in ("APP", "BROKER_URL", "CONFIG_MODULE", "LOADER", "RESULT_BACKEND"):  # Celery reads these as its options
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Ends with the test what it does to the logging of this process."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A private folder with a path short enough for unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="rcv-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """The Valkey that the whole run shares. Do not break it: start a `ValkeyServer` of your own for that."""
    folder = Path(tempfile.mkdtemp(prefix="rcv-"))
    server = ValkeyServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of the shared Valkey, or of a room on `RECOVERY_TEST_REDIS`; its contents are whatever the tests before left."""
    if REDIS:
        with own_redis() as url:
            yield url
    else:
        server: ValkeyServer = request.getfixturevalue("valkey_server")
        yield server.url


@pytest.fixture
def redis_client(valkey_url: str) -> Iterator[redis.Redis]:
    """A client of the shared Valkey, emptied before the test."""
    client = redis.Redis.from_url(valkey_url, decode_responses=False, retry=Retry(NoBackoff(), 0), socket_timeout=5.0)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture
def data_dir(short_dir: Path) -> Path:
    """A private data folder for one platform."""
    folder = short_dir / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def sqlite_url(data_dir: Path) -> str:
    """The URL of an empty SQLite database that nobody else uses."""
    return f"sqlite:///{data_dir / 'history.db'}"
