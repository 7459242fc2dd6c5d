"""What every part of the SQL store shares: transactions, upserts, and moving rows in and out of frozen data."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from operator import attrgetter
from types import TracebackType
from typing import Any, ClassVar, Protocol, TypeVar

from sqlalchemy import Connection, Engine, Table, bindparam, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from recovery.models import Lease
from recovery.store import schema
from recovery.store.direct import DirectConnection, Rows, Transaction
from recovery.store.engine import READS, translated
from recovery.store.rules import lease_lost

T = TypeVar("T")
AnyConnection = Connection | DirectConnection
"""What runs statements within one transaction."""


class Data(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


_FENCE = (
    select(schema.leases.c.fence).where(schema.leases.c.service == bindparam("of"), schema.leases.c.holder.is_not(None)).with_for_update()
)


class Room:
    """One port of the store on a database.

    Statements that are written once go directly to the driver; those whose text depends on values need SQLAlchemy's own
    connection (`_composing`, `_asking`).

    Args:
        engine: from `open_engine`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{READS: True})
        self._shared = threading.local()
        on_sqlite = engine.dialect.name == "sqlite"  # where nothing begins by itself
        self._begin_reading = "BEGIN" if on_sqlite else None
        self._begin_writing = "BEGIN IMMEDIATE" if on_sqlite else None

    @contextmanager
    def _composing(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def _asking(self) -> Iterator[Connection]:
        with translated(), self._reader.begin() as connection:
            yield connection

    def _writing(self) -> AbstractContextManager[DirectConnection]:
        return Transaction(self._engine, self._begin_writing)

    def _reading(self) -> AbstractContextManager[DirectConnection]:
        joined: _Joined | None = getattr(self._shared, "joined", None)
        return joined or Transaction(self._engine, self._begin_reading)

    def together(self) -> AbstractContextManager[object]:
        """Read within the block what belongs together: in one transaction of this thread."""
        return _Together(self._shared, self._reading())

    def _upsert(self, table: Table) -> Any:
        return upsert(self._engine.dialect.name, table)


class _Together:
    """Lets what a thread reads within the block use one transaction."""

    __slots__ = ("_before", "_shared", "_transaction")

    def __init__(self, shared: threading.local, transaction: AbstractContextManager[DirectConnection]) -> None:
        self._shared = shared
        self._transaction = transaction
        self._before: _Joined | None = getattr(shared, "joined", None)

    def __enter__(self) -> None:
        self._shared.joined = _Joined(self._transaction.__enter__())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._shared.joined = self._before
        self._transaction.__exit__(kind, error, trace)


class _Joined:
    """Lends the connection of the transaction that a thread has open; a class, as `Transaction` is, for the same reason."""

    __slots__ = ("_shared",)

    def __init__(self, shared: DirectConnection) -> None:
        self._shared = shared

    def __enter__(self) -> DirectConnection:
        return self._shared

    def __exit__(self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None) -> None:
        if isinstance(error, SQLAlchemyError):
            with translated():
                raise error


def require(connection: AnyConnection, lease: Lease) -> None:
    """Raise `LeaseLost` unless `lease` is the newest of its service, and keep it so until the transaction ends."""
    newest = connection.execute(_FENCE, {"of": lease.service}).scalar()
    if newest != lease.fence:
        raise lease_lost(lease)


@cache
def upsert(dialect: str, table: Table) -> Any:
    """Return the statement that inserts a row of `table` or replaces the one with the same primary key."""
    keys = [column.name for column in table.primary_key]
    statement: Any = dialect_insert(dialect, table)
    rest = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=rest)


@cache
def inserted(table: Table) -> Any:
    """Return the statement that inserts a row of `table`."""
    return insert(table)


def dialect_insert(dialect: str, table: Table) -> Any:
    """Return an insert that knows `ON CONFLICT`; both databases write it alike."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def columns_of(kind: type[Data], table: Table) -> tuple[Any, ...]:
    """Return the columns of `table` that make up a `kind`, in the order of its fields."""
    return tuple(table.c[name] for name in kind.__dataclass_fields__)


def values_of(item: Data) -> dict[str, Any]:
    """Return the fields of a frozen dataclass by name, as they go into its columns."""
    names, values = _fields_of(type(item))
    return dict(zip(names, values(item), strict=True))


def differences(old: T, new: T) -> dict[str, Any]:
    """Return the fields of `new`, a frozen dataclass, that are not as in `old`."""
    names, values = _fields_of(type(new))  # type: ignore[arg-type]
    pairs = zip(names, values(old), values(new), strict=True)  # type: ignore[arg-type]
    return {name: value for name, before, value in pairs if value is not before and value != before}


@cache
def _fields_of(kind: type[Data]) -> tuple[tuple[str, ...], Callable[[Data], tuple[Any, ...]]]:
    """Return the names of its fields, and what gets them out of one: at least two, else it would get no tuple."""
    names = tuple(kind.__dataclass_fields__)
    return names, attrgetter(*names)


def load(kind: Callable[..., T], row: Sequence[Any]) -> T:
    """Return the `kind` in a row (or part of one) of `columns_of(kind, ...)`."""
    return kind(*row)


def load_all(kind: Callable[..., T], rows: Rows | Iterable[Sequence[Any]]) -> list[T]:
    """Return one `kind` per row."""
    return rows.all(kind) if isinstance(rows, Rows) else [load(kind, row) for row in rows]


def insert_all(connection: AnyConnection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows, if there are any."""
    if rows:
        connection.execute(inserted(table), rows)


def changed(connection: AnyConnection, statement: Any, **values: Any) -> bool:
    """Run a conditional update or delete and say whether it changed a row."""
    return bool(connection.execute(statement, values or None).rowcount == 1)
