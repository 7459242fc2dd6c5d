"""Check `sql`: does a database answer a query? For an SQLite file also: is the file itself intact?

It never writes: an SQLite file is opened read-only, so a missing one is a finding instead of a new empty database.
"""

import math
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, Field, model_validator
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from recovery.config.base import Declaration
from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.detect.threads import in_thread
from recovery.models import Category, FailureType
from recovery.ports import CheckKind, Finding, Heartbeats

BROKEN_FILE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
PRAGMAS = {"quick": "PRAGMA quick_check(1)", "full": "PRAGMA integrity_check(1)"}
CONNECT_ARGUMENTS: Mapping[str, Callable[[float], dict[str, Any]]] = {
    "postgresql": lambda seconds: {"connect_timeout": max(1, math.ceil(seconds))},
    "mysql": lambda seconds: {"connect_timeout": max(1, math.ceil(seconds))},
    "mariadb": lambda seconds: {"connect_timeout": max(1, math.ceil(seconds))},
}
"""How each database's driver is told not to wait longer than the check does."""


def _address(text_: str) -> str:
    try:
        url = make_url(text_)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ValueError("is not an SQLAlchemy URL of a known database, such as postgresql+psycopg://user@host/name") from error
    if url.get_backend_name() == "sqlite":
        _absolute(url)
    return text_


def _absolute(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise ValueError("must name a file: an SQLite database in memory is always well")
    if not Path(url.database).is_absolute():
        raise ValueError(f'is relative to wherever a worker was started: write file = "{url.database}" instead of url')


class SqlOptions(Declaration):
    """`type = "sql"`."""

    url: Annotated[str, AfterValidator(_address)] | None = None
    """An SQLAlchemy URL with a synchronous driver; for SQLite with an absolute path."""
    file: Path | None = None
    """An SQLite file, instead of `url`."""
    query: Annotated[str, Field(min_length=1)] = "SELECT 1"
    """One statement; must only read."""
    expect: str | bool | int | float | None = None
    """What the first column of the first row must be, compared as text; another value means `data_inconsistency`."""
    integrity: bool | Literal["quick", "full"] = False
    """SQLite: verify the file's structure. true or "quick": `PRAGMA quick_check`; "full": `PRAGMA integrity_check`."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.url is None) == (self.file is None):
            raise ValueError("give either url or file (an SQLite file)")
        if self.integrity and self.data_file is None:
            raise ValueError("integrity is for SQLite: other databases verify themselves")
        return self

    @property
    def data_file(self) -> Path | None:
        """Return the SQLite file, None for another database."""
        if self.url is None:
            return self.file
        url = make_url(self.url)
        return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


@dataclass(frozen=True, slots=True)
class SqlCheck:
    """Connect afresh, verify, query."""

    name: str
    options: SqlOptions
    timeout: float

    async def probe(self) -> Finding:
        """Ask once, in a thread."""
        return await in_thread(("sql", self.name), self._look, self.timeout)

    def _look(self) -> Finding:
        data_file = self.options.data_file
        if data_file and (finding := self._file(data_file)):
            return finding
        try:
            return self._ask()
        except SQLAlchemyError as error:
            return _failure(error)

    def _file(self, file: Path) -> Finding | None:
        """Return a failure if there is nothing to open. SQLite takes an empty file for an empty, sound database."""
        category = Category.DATA_INCONSISTENCY if self.options.integrity else Category.DATABASE
        if not file.is_file():
            return Finding(ok=False, message=f"the data file {file} does not exist", category=category, type=FailureType.ERROR)
        if self.options.integrity and file.stat().st_size == 0:
            return Finding(ok=False, message=f"the data file {file} is empty", category=category, type=FailureType.ANOMALY)
        return None

    def _ask(self) -> Finding:
        url, arguments = _target(self.options, self.timeout)
        engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
        try:
            with engine.connect() as connection:
                return self._integrity(connection) or self._answer(connection)
        finally:
            engine.dispose()

    def _integrity(self, connection: Connection) -> Finding | None:
        if not self.options.integrity:
            return None
        thorough = "full" if self.options.integrity == "full" else "quick"
        verdict = connection.execute(text(PRAGMAS[thorough])).scalar()
        if verdict == "ok":
            return None
        return Finding(ok=False, message=f"the file is corrupt: {verdict}", category=Category.DATA_INCONSISTENCY, type=FailureType.ANOMALY)

    def _answer(self, connection: Connection) -> Finding:
        result = connection.exec_driver_sql(self.options.query)
        value = result.scalar() if result.returns_rows else None
        if self.options.expect is None or str(value) == str(self.options.expect):
            return Finding(ok=True)
        message = f"the query returned '{value}', wanted '{self.options.expect}'"
        return Finding(ok=False, message=message, category=Category.DATA_INCONSISTENCY, type=FailureType.ANOMALY)


def _target(options: SqlOptions, timeout: float) -> tuple[str | URL, dict[str, Any]]:
    if data_file := options.data_file:
        # An absolute path needs no folder of its own in the URI; quote() keeps '?' and '#' in a name from ending it.
        uri = f"file:{quote(str(data_file.absolute()))}?mode=ro"
        return URL.create("sqlite", database=uri, query={"uri": "true"}), {"timeout": timeout}
    url = make_url(options.url or "")
    connect = CONNECT_ARGUMENTS.get(url.get_backend_name())
    return url, connect(timeout) if connect else {}


def _failure(error: SQLAlchemyError) -> Finding:
    original = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(original, "sqlite_errorcode", None)
    # SQLite's extended codes keep the plain one in the low byte.
    is_broken = code is not None and code & 0xFF in BROKEN_FILE
    return Finding(
        ok=False,
        message=f"{'the file is corrupt: ' if is_broken else ''}{original or error}".strip(),
        category=Category.DATA_INCONSISTENCY if is_broken else None,
        type=FailureType.ANOMALY if is_broken else FailureType.ERROR,
    )


def build(service: ServiceDeclaration, check: CheckDeclaration, _heartbeats: Heartbeats) -> SqlCheck:
    """Return the declared check."""
    return SqlCheck(f"{service.name}.{check.name}", SqlOptions.model_validate(check.options), check.timeout)


SQL = CheckKind("sql", SqlOptions, build, Category.DATABASE)
