"""Runs statements straight on the database's driver: each is compiled once per process, and then costs little more than the driver.

SQLAlchemy's own connection spends more on a short statement than SQLite does. Here it keeps what it is good at (writing SQL,
converting values, pooling connections, naming errors); only its execution is left out. Statements whose text depends on their
values, such as `IN` with a list, need SQLAlchemy's own connection.
"""

from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Engine, Float, Insert
from sqlalchemy.exc import DBAPIError, NoResultFound, SQLAlchemyError
from sqlalchemy.pool import PoolProxiedConnection

from recovery.store.engine import translated

Convert = Callable[[Any], Any]
Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One statement as the driver takes it."""

    text: str
    by_place: bool
    """The driver takes the values in order; else by name."""
    places: tuple[tuple[str, Convert | None], ...]
    """Name of each value, in order, and how it becomes the driver's."""
    constants: dict[str, Any]
    """Values that belong to the statement, ready for the driver."""
    reads: tuple[tuple[int, Convert], ...]
    """How the columns that come back become ours, by place."""
    row: Callable[..., Any] | None
    """Makes a named tuple of what comes back; None: nothing does."""

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return the values as the driver takes them."""
        constants = self.constants
        if self.by_place:
            return [
                constants[name] if name in constants else convert(values[name]) if convert else values[name]
                for name, convert in self.places
            ]
        return constants | {
            name: convert(values[name]) if convert else values[name] for name, convert in self.places if name not in constants
        }

    def load(self, raw: Sequence[Any]) -> Any:
        """Return one row that came back."""
        row = list(raw)
        for place, convert in self.reads:
            row[place] = convert(row[place])
        assert self.row is not None
        return self.row(row)


_prepared: dict[str, WeakKeyDictionary[Any, dict[tuple[Keys, bool], Prepared]]] = {}
"""By dialect and statement, then by the names of the values: an `UPDATE` sets what it is given."""


class Rows:
    """What a statement brought back; the names are SQLAlchemy's."""

    __slots__ = ("_rows", "rowcount")

    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def __iter__(self) -> Iterator[Any]:
        return iter(self._rows)

    def all(self) -> list[Any]:
        """Return every row."""
        return self._rows

    def first(self) -> Any:
        """Return the first row, None if there is none."""
        return self._rows[0] if self._rows else None

    def one(self) -> Any:
        """Return the first row; raises `NoResultFound` if there is none."""
        if not self._rows:
            raise NoResultFound("a row was expected")
        return self._rows[0]

    def scalar(self) -> Any:
        """Return the first column of the first row, None if there is none."""
        return self._rows[0][0] if self._rows else None

    def scalar_one(self) -> Any:
        """Return the first column of the first row; raises `NoResultFound` if there is none."""
        return self.one()[0]

    def scalars(self) -> list[Any]:
        """Return the first column of every row."""
        return [row[0] for row in self._rows]


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
        self._known = _prepared.setdefault(dialect.name, WeakKeyDictionary())

    def execute(self, statement: Any, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None) -> Rows:
        """Run a statement, with many sets of values if a sequence is given; raises SQLAlchemy's errors."""
        many = not (values is None or isinstance(values, dict))
        sets: Any = values if many else (values or {},)
        prepared = self._prepare(statement, tuple(sets[0]), many)
        bound = [prepared.bind(one) for one in sets] if many else prepared.bind(sets[0])
        cursor = self._driver.cursor()
        try:
            (cursor.executemany if many else cursor.execute)(prepared.text, bound)
            found = [prepared.load(raw) for raw in cursor.fetchall()] if prepared.row else []
            return Rows(found, cursor.rowcount)
        except self.dialect.loaded_dbapi.Error as error:
            raise named(self.dialect, error, prepared.text) from error
        finally:
            cursor.close()

    def _prepare(self, statement: Any, names: Keys, many: bool) -> Prepared:  # noqa: FBT001 - part of the key
        known = self._known.get(statement)
        if known is None:
            known = self._known[statement] = {}
        prepared = known.get((names, many))
        if prepared is None:
            prepared = known[names, many] = prepare(statement, names, self.dialect)
        return prepared


class Transaction:
    """Lends a connection of the pool for one transaction, which is rolled back if the block raises.

    A class, because it surrounds every access to the database: generators would cost as much as the pool. Raises
    `StoreUnavailable` for what means that the database is not to be had.

    Args:
        engine: whose pool it is.
        begin: what begins the transaction; None: the driver does by itself.
    """

    __slots__ = ("_begin", "_driver", "_engine", "_pooled")

    def __init__(self, engine: Engine, begin: str | None) -> None:
        self._engine = engine
        self._begin = begin
        self._pooled: PoolProxiedConnection | None = None
        self._driver: Any = None

    def __enter__(self) -> DirectConnection:
        try:
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


def prepare(statement: Any, names: Keys, dialect: Dialect) -> Prepared:
    """Compile a statement for values of these names."""
    columns = tuple(getattr(statement, "exported_columns", ()))
    if isinstance(statement, Insert) and not columns:
        statement = statement.inline()  # nobody asks for the new key
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(names))
    if compiled.post_compile_params:
        raise TypeError(f"the text of this statement depends on its values: {compiled}")
    binds = {name: bind for bind, name in compiled.bind_names.items()}
    used = tuple(compiled.positiontup if compiled.positional else binds)
    converts = {name: convert for name in used if (convert := binds[name].type.dialect_impl(dialect).bind_processor(dialect))}
    fixed = {name: value for name, value in compiled.params.items() if name not in names}
    return Prepared(
        text=compiled.string,
        by_place=compiled.positional,
        places=tuple((name, converts.get(name)) for name in used),
        constants={name: converts[name](value) if name in converts else value for name, value in fixed.items()},
        reads=tuple((place, read) for place, column in enumerate(columns) if (read := _reader(column.type, dialect))),
        row=_row_of(columns) if columns else None,
    )


def _reader(kind: Any, dialect: Dialect) -> Convert | None:
    if isinstance(kind, Float):  # every driver gives floats by itself, and PostgreSQL's would have to be asked for more
        return None
    read: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return read


def _row_of(columns: Sequence[Any]) -> Callable[..., Any]:
    names = [str(getattr(column, "name", "")) for column in columns]
    kind: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # noqa: PYI024 - made of whatever is selected
    make: Callable[..., Any] = kind._make
    return make
