"""The same SQL without us: what the store sends to its database is written down, and sent once more through the bare driver.

Three databases begin alike: one where a call is only written down, one where it is timed, one where its SQL is timed.
"""

import shutil
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine, make_url

from recovery.store import schema
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


@contextmanager
def recorded(engine: Engine) -> Iterator[list[Sent]]:
    """Write down what an engine's pooled connections are told; nothing may have been sent through it before."""
    sent: list[Sent] = []
    lend = engine.raw_connection
    engine.__dict__["raw_connection"] = lambda: _Pooled(lend(), sent)
    try:
        yield sent
    finally:
        del engine.__dict__["raw_connection"]


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


Call = Callable[[], object]
WARM = 20
"""How many calls come first and do not count: statements are compiled, pages are read."""


def side_by_side(calls: Iterable[Call], tapes: Sequence[Sequence[Sent]], driver: Any) -> tuple[list[float], list[float]]:
    """Return the microseconds of each call, and of what was recorded of it through the bare driver; they take turns in going first."""
    ours, bare = [], []
    for number, (call, tape) in enumerate(zip(calls, tapes, strict=True)):
        again = partial(send_again, driver, tape)
        if number % 2:
            bare.append(timed(again))
        ours.append(timed(call))
        if not number % 2:
            bare.append(timed(again))
    return ours[WARM:], bare[WARM:]


@dataclass
class Triplets:
    """Three databases with the same content, on the same server or disk."""

    name: str
    rehearsal: SqlStore
    """Where calls are written down; nothing is timed here."""
    store: SqlStore
    driver: Any
    """The bare driver, connected to the third."""

    def compare(self, calls_on: Callable[[SqlStore], Iterable[Call]]) -> tuple[list[float], list[float], int]:
        """Time calls and their SQL; return the microseconds of either, and how many messages a call sends."""
        tapes = []
        with recorded(self.rehearsal.engine) as sent:
            for call in calls_on(self.rehearsal):
                call()
                tapes.append(list(sent))
                sent.clear()
        dispose(self.rehearsal.engine)
        ours, bare = side_by_side(calls_on(self.store), tapes, self.driver)
        self._require_equal_rows()
        return ours, bare, len(tapes[-1])

    def _require_equal_rows(self) -> None:
        """Raise `AssertionError` unless both did the same: every table has as many rows on either side."""
        tables = [table.name for table in schema.metadata.sorted_tables]
        query = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in tables)  # noqa: S608 - our own names
        with self.store.engine.connect() as connection:
            ours = {(name, rows) for name, rows in connection.exec_driver_sql(query)}
        cursor = self.driver.cursor()
        cursor.execute(query)
        theirs = set(cursor.fetchall())
        self.driver.rollback()
        assert ours == theirs, f"not the same work: {ours ^ theirs}"


Prepare = Callable[[SqlStore], None]
"""Fills the database before it is copied."""


@contextmanager
def sqlite_triplets(folder: Path, prepare: Prepare) -> Iterator[Triplets]:
    """Lend three equal SQLite databases, with the settings that the store uses."""
    paths = [folder / f"{name}.db" for name in ("rehearsal", "ours", "bare")]
    _prepared(f"sqlite:///{paths[0]}", prepare)
    for copy in paths[1:]:
        shutil.copy(paths[0], copy)
    stores = [SqlStore.open(f"sqlite:///{path}") for path in paths[:2]]
    driver = bare_sqlite(paths[2])
    try:
        yield Triplets("SQLite", stores[0], stores[1], driver)
    finally:
        for store in stores:
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
def postgres_triplets(server: str, prepare: Prepare) -> Iterator[Triplets]:
    """Lend three equal PostgreSQL databases on a server."""
    with own_database(server) as url:
        _prepared(url, prepare)
        name = make_url(url).database
        copies = [make_url(url).set(drivername="postgresql", database=f"{name}_{what}") for what in ("ours", "bare")]
        urls = [copy.render_as_string(hide_password=False) for copy in copies]
        with psycopg.connect(server, autocommit=True) as connection:
            for copy in copies:
                connection.execute(f"CREATE DATABASE {copy.database} TEMPLATE {name}".encode())
        stores, driver = [SqlStore.open(one) for one in (url, urls[0])], psycopg.connect(urls[1])
        try:
            yield Triplets("PostgreSQL", stores[0], stores[1], driver)
        finally:
            for store in stores:
                dispose(store.engine)
            driver.close()
            with psycopg.connect(server, autocommit=True) as connection:
                for copy in copies:
                    connection.execute(f"DROP DATABASE {copy.database} WITH (FORCE)".encode())


def _prepared(url: str, prepare: Prepare) -> None:
    migrate(url)
    store = SqlStore.open(url)
    prepare(store)
    dispose(store.engine)
