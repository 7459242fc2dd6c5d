"""The same SQL without us: what the store sends to its database is written down, and sent once more through the bare driver."""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, make_url

from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.servers.programs import POSTGRES
from tests.servers.rooms import POSTGRES as GIVEN
from tests.servers.rooms import own_database
from tests.servers.started import postgres

COMMIT, ROLLBACK = "COMMIT", "ROLLBACK"


@dataclass(frozen=True)
class Sent:
    """One statement as the driver got it."""

    text: str
    values: Any = ()
    many: bool = False


@dataclass
class Recorder:
    """Writes down what an engine's pooled connections are told."""

    engine: Engine
    sent: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        lend = self.engine.raw_connection
        self.engine.__dict__["raw_connection"] = lambda: _Pooled(lend(), self.sent)

    def stop(self) -> None:
        """Write nothing down any more."""
        del self.engine.__dict__["raw_connection"]

    def take(self) -> list[Sent]:
        """Return what was sent since the last time."""
        taken = list(self.sent)
        self.sent.clear()
        return taken


class _Proxy:
    def __init__(self, behind: Any, sent: list[Sent]) -> None:
        self._behind = behind
        self._sent = sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def execute(self, text: str, values: Any = ()) -> Any:
        self._sent.append(Sent(text, values))
        return self._behind.execute(text, values)


class _Cursor(_Proxy):
    def executemany(self, text: str, values: Any) -> Any:
        self._sent.append(Sent(text, values, many=True))
        return self._behind.executemany(text, values)


class _Driver(_Proxy):
    def cursor(self) -> _Cursor:
        return _Cursor(self._behind.cursor(), self._sent)

    def commit(self) -> None:
        self._sent.append(Sent(COMMIT))
        self._behind.commit()

    def rollback(self) -> None:
        self._sent.append(Sent(ROLLBACK))
        self._behind.rollback()


class _Pooled(_Proxy):
    @property
    def driver_connection(self) -> _Driver:
        return _Driver(self._behind.driver_connection, self._sent)


def send_again(driver: Any, sent: Sequence[Sent]) -> None:
    """Do the same through the bare driver, and fetch every row."""
    for one in sent:
        if one.text in {COMMIT, ROLLBACK}:
            (driver.commit if one.text == COMMIT else driver.rollback)()
            continue
        cursor = driver.cursor()
        if one.many:
            cursor.executemany(one.text, one.values)
        else:
            cursor.execute(one.text, one.values)
            if cursor.description is not None:
                cursor.fetchall()
        cursor.close()


def timed(do: Callable[[], object]) -> float:
    """Return the microseconds that `do` takes."""
    began = time.perf_counter()
    do()
    return (time.perf_counter() - began) * 1e6


@dataclass
class Twins:
    """Two databases with the same content: one behind the store, one behind the bare driver."""

    name: str
    store: SqlStore
    driver: Any


Prepare = Callable[[SqlStore], None]
"""Fills the database before it is doubled."""


@contextmanager
def sqlite_twins(folder: Path, prepare: Prepare) -> Iterator[Twins]:
    """Lend two equal SQLite databases, with the settings that the store uses."""
    one, other = folder / "ours.db", folder / "bare.db"
    _prepared(f"sqlite:///{one}", prepare)
    shutil.copy(one, other)
    store, driver = SqlStore.open(f"sqlite:///{one}"), bare_sqlite(other)
    try:
        yield Twins("SQLite", store, driver)
    finally:
        dispose(store.engine)
        driver.close()


def bare_sqlite(path: Path) -> sqlite3.Connection:
    """Connect as the store does, without it."""
    driver = sqlite3.connect(path, isolation_level=None)
    driver.execute("PRAGMA foreign_keys = ON")
    driver.execute("PRAGMA synchronous = NORMAL")
    return driver


@contextmanager
def postgres_server() -> Iterator[str]:
    """Lend the URL of a PostgreSQL server: the one that `RECOVERY_TEST_POSTGRES` names, else one of our own; raises `LookupError`."""
    if GIVEN:
        yield GIVEN
    elif POSTGRES.program() is None:
        raise LookupError("PostgreSQL is not installed and RECOVERY_TEST_POSTGRES names no server")
    else:
        with postgres() as environ:
            yield environ["RECOVERY_TEST_POSTGRES"]


@contextmanager
def postgres_twins(server: str, prepare: Prepare) -> Iterator[Twins]:
    """Lend two equal PostgreSQL databases on a server."""
    with own_database(server) as url:
        _prepared(url, prepare)
        name = make_url(url).database
        copy = make_url(url).set(drivername="postgresql", database=f"{name}_bare")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {copy.database} TEMPLATE {name}".encode())
        store, driver = SqlStore.open(url), psycopg.connect(copy.render_as_string(hide_password=False))
        try:
            yield Twins("PostgreSQL", store, driver)
        finally:
            dispose(store.engine)
            driver.close()
            with psycopg.connect(server, autocommit=True) as connection:
                connection.execute(f"DROP DATABASE {copy.database} WITH (FORCE)".encode())


def _prepared(url: str, prepare: Prepare) -> None:
    migrate(url)
    store = SqlStore.open(url)
    prepare(store)
    dispose(store.engine)
