"""Runs statements straight on the database's driver: each is compiled once per process, and then costs little more than the driver.

SQLAlchemy's own connection spends more on a short statement than SQLite does. Here it keeps what it is good at (writing SQL,
converting values, pooling connections, naming errors); only its execution is left out. Statements whose text depends on their
values, such as `IN` with a list, need SQLAlchemy's own connection.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar, overload
from weakref import finalize

from sqlalchemy import Dialect, Engine
from sqlalchemy.exc import DBAPIError, NoResultFound, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from recovery.store.engine import at_hand, translated
from recovery.store.prepared import Prepared, prepare

T = TypeVar("T")

NOTHING: Mapping[str, Any] = {}
"""The values of a statement that takes none."""

_prepared: dict[str, dict[tuple[Any, ...], Prepared]] = {}
"""By dialect, then by a statement's identity and the names of its values: an `UPDATE` sets what it is given."""


class Rows:
    """What a statement brought back; the names are SQLAlchemy's. Rows are named tuples, or what `kind` makes of their columns."""

    __slots__ = ("_prepared", "_raw", "rowcount")

    def __init__(self, prepared: Prepared, raw: list[Any], rowcount: int) -> None:
        self._prepared = prepared
        self._raw = raw
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self.all())

    @overload
    def all(self) -> list[Any]: ...
    @overload
    def all(self, kind: Callable[..., T]) -> list[T]: ...
    def all(self, kind: Callable[..., Any] | None = None) -> list[Any]:
        """Return every row."""
        return list(map(self._prepared.loading(kind), self._raw)) if self._raw else []

    @overload
    def first(self) -> Any: ...
    @overload
    def first(self, kind: Callable[..., T]) -> T | None: ...
    def first(self, kind: Callable[..., Any] | None = None) -> Any:
        """Return the first row, None if there is none."""
        return self._prepared.loading(kind)(self._raw[0]) if self._raw else None

    def one(self) -> Any:
        """Return the first row; raises `NoResultFound` if there is none."""
        if not self._raw:
            raise NoResultFound("a row was expected")
        return self.first()

    def scalar(self) -> Any:
        """Return the first column of the first row, None if there is none."""
        return self._prepared.first_of(self._raw[0]) if self._raw else None

    def scalar_one(self) -> Any:
        """Return the first column of the first row; raises `NoResultFound` if there is none."""
        if not self._raw:
            raise NoResultFound("a row was expected")
        return self.scalar()

    def scalars(self) -> list[Any]:
        """Return the first column of every row."""
        return [self._prepared.first_of(row) for row in self._raw]


class DirectConnection:
    """A pooled connection within one transaction.

    Args:
        dialect: of the database.
        driver: the driver's own connection.
    """

    __slots__ = ("_driver", "_known", "dialect")

    def __init__(self, dialect: Dialect, driver: Any) -> None:
        self.dialect = dialect
        self._driver = driver
        self._known = _prepared.setdefault(dialect.name, {})

    def execute(self, statement: Any, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> Rows:
        """Run a statement, with many sets of values if a sequence is given; raises SQLAlchemy's errors."""
        sets: Any = values or NOTHING
        one = sets if isinstance(sets, dict) else sets[0]
        prepared = self._known.get((id(statement), *one)) or self._prepare(statement, one)
        try:
            if one is sets or len(sets) == 1:
                cursor = self._driver.execute(prepared.text, prepared.bind(one))
            else:
                cursor = self._driver.cursor()
                cursor.executemany(prepared.text, list(map(prepared.bind, sets)))
            return Rows(prepared, cursor.fetchall() if prepared.row else [], cursor.rowcount)
        except self.dialect.loaded_dbapi.Error as error:
            raise named(self.dialect, error, prepared.text) from error

    def _prepare(self, statement: Any, values: Mapping[str, Any]) -> Prepared:
        """Prepare a statement, and remember it for as long as there is this very statement."""
        key = (id(statement), *values)
        prepared = self._known[key] = prepare(statement, tuple(values), self.dialect)
        finalize(statement, self._known.pop, key, None).atexit = False
        return prepared


class Transaction:
    """Lends a connection of the pool for one transaction, which is rolled back if the block raises.

    A class, because it surrounds every access to the database: generators would cost as much as the pool. Raises
    `StoreUnavailable` for what means that the database is not to be had.

    Args:
        engine: whose pool it is.
        begin: what begins the transaction; None: the driver does by itself.
    """

    __slots__ = ("_at_hand", "_begin", "_driver", "_engine", "_pooled")

    def __init__(self, engine: Engine, begin: str | None) -> None:
        self._engine = engine
        self._begin = begin
        self._at_hand = at_hand(engine)
        self._pooled: PoolProxiedConnection | None = None
        self._driver: Any = None

    def __enter__(self) -> DirectConnection:
        try:
            try:
                self._pooled, self._driver = self._at_hand.connections.pop()
            except IndexError:
                self._pooled = self._engine.raw_connection()
                self._driver = self._pooled.driver_connection
            if self._begin:
                self._driver.execute(self._begin)
        except BaseException as error:
            self._give_up(error, self._begin or "CONNECT")
            raise
        return DirectConnection(self._engine.dialect, self._driver)

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is not None:
            self._give_up(error, "")
            return
        try:
            self._driver.commit()
        except BaseException as failed:
            self._give_up(failed, "COMMIT")
            raise
        if len(self._at_hand.connections) < self._at_hand.limit and self._pooled is not None:
            self._at_hand.connections.append((self._pooled, self._driver))
        else:
            self._close()

    def _give_up(self, error: BaseException, at: str) -> None:
        """Roll back, and raise `error` in the words of the store if it has some for it."""
        dialect = self._engine.dialect
        driver_error = dialect.loaded_dbapi.Error
        cause = error.orig if isinstance(error, DBAPIError) else error
        gone = isinstance(cause, driver_error) and dialect.is_disconnect(cause, self._pooled, None)
        self._roll_back(gone=gone or not isinstance(error, Exception))  # after an interruption nobody knows how far the driver got
        known = named(dialect, error, at) if isinstance(error, driver_error) else error
        with translated():
            if known is not error:
                raise known from error
            if isinstance(error, SQLAlchemyError):
                raise error

    def _roll_back(self, *, gone: bool) -> None:
        """End the transaction; a connection that cannot even do that is not used again. What the block raised is what counts."""
        if self._pooled is None:
            return
        if not gone:
            try:
                self._pooled.rollback()
            except Exception:  # noqa: BLE001 - see above
                gone = True
        if gone:
            self._pooled.invalidate()
        self._close()

    def _close(self) -> None:
        if self._pooled is not None:
            self._pooled.close()
            self._pooled = None


def named(dialect: Dialect, error: Exception, text: str) -> Exception:
    """Return the driver's error as SQLAlchemy names it, without the values: they may be secret."""
    known: Exception = DBAPIError.instance(text, None, error, dialect.loaded_dbapi.Error, hide_parameters=True, dialect=dialect)
    return known
