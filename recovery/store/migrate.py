"""Brings a database to the newest schema. Several processes may start at once: one migrates, the others wait and find it done."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from recovery.errors import ConfigurationError, StoreUnavailable
from recovery.store.engine import BUSY_TIMEOUT, READS, open_engine, translated

HEAD = "0004"
"""The newest revision in `migrations/versions`; written here so that a database at head costs one look."""
MIGRATIONS = Path(__file__).parent / "migrations"

_ADVISORY_LOCK = 0x7265_636F_7665_7279
"""Key of the PostgreSQL lock: the letters `recovery`."""


def migrate(url: str) -> None:
    """Bring the database at `url` to head, creating it (and its private folder) if it is SQLite and missing.

    Raises `StoreUnavailable` if the database does not answer, `ConfigurationError` if a newer version of this product made it.
    """
    engine = open_engine(url)
    try:
        if engine.dialect.name == "sqlite":
            _prepare_file(engine)
        with translated():
            if revision(engine) != HEAD:
                _upgrade(engine)
    finally:
        engine.dispose()


def revision(engine: Engine) -> str | None:
    """Return the revision that a database is at, None if it has no schema yet."""
    with engine.execution_options(**{READS: True}).connect() as connection:
        return _revision(connection)


def run_alembic(connection: Connection, target: str = "head") -> None:
    """Migrate to `target` in the running transaction; raises `ConfigurationError` if the present revision is not known here."""
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    move = command.downgrade if target == "base" else command.upgrade
    try:
        move(config, target)
    except CommandError as error:
        raise ConfigurationError(f"the database cannot be migrated: {error}; a newer celery-recovery may have made it") from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(engine: Engine) -> None:
    with engine.begin() as connection:  # on SQLite this alone keeps the others out
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        if _revision(connection) != HEAD:
            run_alembic(connection)


def _prepare_file(engine: Engine) -> None:
    """Create the folder and switch the file to its write-ahead log, once: the mode stays with the file."""
    path = engine.url.database or ""
    if path in {"", ":memory:"} or path.startswith("file:"):
        raise ConfigurationError("the history needs a plain file that several processes can open; write sqlite:///path/to/history.db")
    try:
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # private, also as a copy outside the private folder
        _write_ahead(path)
    except (OSError, sqlite3.Error) as error:
        raise StoreUnavailable(f"the database '{path}' cannot be opened: {error}") from error


def _write_ahead(path: str) -> None:
    """Switch `path` to its write-ahead log; SQLite does not wait for others here by itself, so this does."""
    deadline = time.monotonic() + BUSY_TIMEOUT
    with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None)) as connection:
        while True:
            try:
                if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
                    return
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                if mode != "wal":
                    raise ConfigurationError(f"'{path}' cannot have a write-ahead log; put it on a local disk or use PostgreSQL")
                return
