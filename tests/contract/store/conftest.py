"""Every test of this folder runs on each store: in memory, on SQLite, and on PostgreSQL if `RECOVERY_TEST_POSTGRES` names one."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from recovery.ports import Store
from recovery.store.engine import open_engine
from recovery.store.memory import MemoryStore
from recovery.store.migrate import migrate
from recovery.store.schema import metadata
from recovery.store.sql import SqlStore
from tests.servers.rooms import POSTGRES, own_database

SQL = ["sqlite", "postgresql"] if POSTGRES else ["sqlite"]


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at head, to be copied: migrating once is enough."""
    path = tmp_path_factory.mktemp("template") / "history.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres() -> Iterator[str]:
    """A database at head on the PostgreSQL that the environment names."""
    with own_database() as url:
        migrate(url)
        yield url


@pytest.fixture
def sql_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated, empty database."""
    if backend == "sqlite":
        path = tmp_path / "history.db"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("migrated_postgres")
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE"))
    engine.dispose()
    return url


@pytest.fixture
def sql_store(sql_url: str) -> Iterator[SqlStore]:
    """A store on a database."""
    store = SqlStore.open(sql_url)
    yield store
    store.engine.dispose()


@pytest.fixture
def store(backend: str, request: pytest.FixtureRequest) -> Store:
    """One of the stores."""
    if backend == "memory":
        return MemoryStore()
    found: SqlStore = request.getfixturevalue("sql_store")
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for `store` on all of them, one that asks for `sql_store` or `sql_url` on the databases."""
    if "backend" in metafunc.fixturenames:
        metafunc.parametrize("backend", SQL if "sql_url" in metafunc.fixturenames else ["memory", *SQL])
