"""Opens databases: SQLite as a fleet on one host needs it, PostgreSQL with short patience, both safe across fork.

Nothing connects before the first statement.
"""

import os
import sqlite3
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, NullPool, PoolProxiedConnection, QueuePool

from recovery.errors import ConfigurationError, StoreUnavailable, StoreUnprepared
from recovery.settings import redact
from recovery.store.types import dump_json

BUSY_TIMEOUT = 30.0
"""Seconds that one writer waits for another."""
READS = "recovery_reads"
"""Execution option of transactions that only read: on SQLite they do not take the write lock."""

KEPT_AT_HAND = 2
"""Connections to SQLite that stay lent between two transactions: the pool takes as long to lend one as SQLite to run a statement."""

_SQLITE_OUTAGES = frozenset({5, 6, 8, 10, 13, 14, 15})
"""SQLite's primary codes BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN and PROTOCOL: the database is not to be had now."""

_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()
_inherited: list[object] = []
_AT_HAND = "recovery_at_hand"
"""Execution option of an engine: its connections at hand."""


@dataclass(frozen=True, slots=True)
class AtHand:
    """Connections of an engine that nobody uses and that are not back in its pool."""

    limit: int
    """How many may be; 0 for PostgreSQL, whose connections give a sign of life whenever the pool lends them."""
    connections: deque[tuple[PoolProxiedConnection, Any]] = field(default_factory=deque)
    """Each with the driver's own; the last is the next. Threads share it: a deque changes in one go."""


def open_engine(url: str, *, patience: float = BUSY_TIMEOUT, keep_open: bool = True) -> Engine:
    """Return an engine for `url` (`sqlite:///file` or `postgresql://...`); it connects at the first statement.

    SQLite: write-ahead log, foreign keys, and `BEGIN IMMEDIATE`, so that a transaction that reads before it writes never
    fails halfway. Raises `ConfigurationError` for a URL that names nothing usable.

    Args:
        url: of the database.
        patience: seconds that one writer waits for another on SQLite.
        keep_open: False: each transaction has a connection of its own, closed at its end.
    """
    parsed = parse_url(url)
    try:
        engine = create_engine(parsed, json_serializer=dump_json, poolclass=None if keep_open else NullPool, **_options(parsed, patience))
    except (ArgumentError, ImportError) as error:
        raise ConfigurationError(f"cannot use the database '{redact(url)}': {error}") from error
    if parsed.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        event.listen(engine, "connect", _prepare_postgres)
    keeps = engine.dialect.name == "sqlite" and isinstance(engine.pool, QueuePool)
    engine.update_execution_options(**{_AT_HAND: AtHand(KEPT_AT_HAND if keeps else 0)})
    event.listen(engine, "engine_disposed", _close_at_hand)
    _engines.add(engine)
    return engine


def at_hand(engine: Engine) -> AtHand:
    """Return the connections that an engine of `open_engine` has at hand."""
    found: AtHand = engine.get_execution_options()[_AT_HAND]
    return found


def _close_at_hand(engine: Engine) -> None:
    connections = at_hand(engine).connections
    while connections:
        connections.pop()[0].invalidate()  # closes it; the pool that it would go back to is closed


def parse_url(url: str) -> URL:
    """Return the parsed URL, with psycopg 3 as PostgreSQL's driver; raises `ConfigurationError` for other databases."""
    try:
        parsed = make_url(url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url)
    except ArgumentError as error:
        raise ConfigurationError(
            "the database URL is not valid; write sqlite:///path/to/history.db or postgresql://user@host/name"
        ) from error
    backend = parsed.get_backend_name()
    if backend not in {"sqlite", "postgresql"}:
        raise ConfigurationError(f"the database '{redact(url)}' is not supported; use sqlite:/// or postgresql://")
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def dispose(engine: Engine) -> None:
    """Close the engine's pooled connections. A forked child needs no call: it starts with an empty pool by itself."""
    engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors that mean `not reachable` or `locked` into `StoreUnavailable`; the others pass."""
    try:
        yield
    except DBAPIError as error:
        if _lacks_a_table(error):
            raise StoreUnprepared(f"the database lacks tables of this version, the next tick makes them: {error.orig}") from error
        if isinstance(error, OperationalError | InterfaceError) and _is_outage(error):
            raise StoreUnavailable(f"the database did not answer: {error.orig}") from error
        raise
    except PoolTimeout as error:
        raise StoreUnavailable("the database did not answer: every pooled connection is busy") from error


def _lacks_a_table(error: DBAPIError) -> bool:
    """SQLite has no code for it, only its words; PostgreSQL has the state `undefined_table`."""
    if isinstance(error.orig, sqlite3.Error):
        return str(error.orig).startswith("no such table: ")
    return getattr(error.orig, "sqlstate", None) == "42P01"


def _is_outage(error: DBAPIError) -> bool:
    if not isinstance(error.orig, sqlite3.Error):
        return True
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_OUTAGES


def _options(url: URL, patience: float) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {} if "timeout" in url.query else {"timeout": patience}}
    limits = {"connect_timeout": "5", "tcp_user_timeout": "15000", "keepalives_idle": "10", "keepalives_interval": "5"}
    return {"pool_pre_ping": True, "connect_args": {name: value for name, value in limits.items() if name not in url.query}}


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # sqlite3 must not open transactions by its own rules
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")


def _prepare_postgres(connection: Any, _entry: ConnectionPoolEntry) -> None:
    """Bound every wait, as SQLite's busy timeout does: a frozen worker must not hold the others up for good."""
    connection.autocommit = True  # inside a transaction, a rollback would take the settings back
    for setting in ("lock_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(f"SET {setting} = '{BUSY_TIMEOUT:.0f}s'")
    connection.autocommit = False


def _begin_sqlite(connection: Connection) -> None:
    """Begin by the driver itself: SQLAlchemy's own way costs more than the statement, and every transaction pays for it."""
    begin = "BEGIN" if connection.get_execution_options().get(READS, False) else "BEGIN IMMEDIATE"
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(begin)
    except sqlite3.Error as error:
        raise OperationalError(begin, None, error) from error


def _forget_inherited() -> None:
    """Start with empty pools in a forked child; the parent's connections are kept untouched, because closing them speaks to the server."""
    for engine in list(_engines):
        connections = at_hand(engine).connections
        _inherited.extend((engine.pool, *connections))
        connections.clear()
        engine.dispose(close=False)


os.register_at_fork(after_in_child=_forget_inherited)
