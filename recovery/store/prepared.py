"""Statements as the driver takes them: compiled once, with functions that turn our values into the driver's and its rows into ours.

These functions are written out field by field, as `dataclasses` and `namedtuple` do it: SQLite finds a row in less time than a loop
needs to convert it.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import Dialect, Float, Insert

from recovery.models.frozen import is_plain, maker

Convert = Callable[[Any], Any]
Load = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """One statement as the driver takes it."""

    text: str
    bind: Callable[[Mapping[str, Any]], Any]
    """Makes what the driver takes of values by name."""
    row: Callable[..., Any] | None
    """Makes a named tuple of a row's columns; None: no row comes back."""
    reads: Mapping[int, Convert]
    """How columns that come back become ours, by place; the others are as they come."""
    width: int
    """Columns of a row."""
    loads: dict[Any, Load] = field(default_factory=dict)
    """By what they make."""

    def loading(self, kind: Callable[..., Any] | None) -> Load:
        """Return the function that makes a `kind` of a row, or a named tuple."""
        load = self.loads.get(kind)
        if load is None:
            load = self.loads[kind] = _loader(_making(kind, self.width) if kind else self.row, self.reads, self.width)
        return load

    def first_of(self, row: Sequence[Any]) -> Any:
        """Return the first column of a row."""
        value, read = row[0], self.reads.get(0)
        return read(value) if read and value is not None else value


def prepare(statement: Any, names: Iterable[str], dialect: Dialect) -> Prepared:
    """Compile a statement for values of these names; raises `TypeError` if its text depends on the values themselves."""
    columns = tuple(getattr(statement, "exported_columns", ()))
    if isinstance(statement, Insert) and not columns:
        statement = statement.inline()  # nobody asks for the new key
    compiled: Any = statement.compile(dialect=dialect, column_keys=list(names))
    if compiled.post_compile_params:
        raise TypeError(f"the text of this statement depends on its values: {compiled}")
    return Prepared(
        text=compiled.string,
        bind=_binder(compiled, frozenset(names), dialect),
        row=_named(columns) if columns else None,
        reads={place: read for place, column in enumerate(columns) if (read := _reader(column.type, dialect))},
        width=len(columns),
    )


def _binder(compiled: Any, names: frozenset[str], dialect: Dialect) -> Callable[[Mapping[str, Any]], Any]:
    """Return the function that picks and converts values, in order or by name, as the driver takes them."""
    binds = {name: bind for bind, name in compiled.bind_names.items()}
    scope: dict[str, Any] = {}
    parts = {}
    for place, name in enumerate(dict.fromkeys(compiled.positiontup if compiled.positional else binds)):
        convert = binds[name].type.dialect_impl(dialect).bind_processor(dialect)
        known = f"known{place}"
        if name not in names:  # it belongs to the statement
            value = compiled.params[name]
            scope[known] = convert(value) if convert else value
            parts[name] = known
        elif convert:
            scope[known] = convert
            parts[name] = f"{known}(values[{name!r}])"
        else:
            parts[name] = f"values[{name!r}]"
    if compiled.positional:
        made = f"[{', '.join(parts[name] for name in compiled.positiontup)}]"
    else:
        made = f"{{{', '.join(f'{name!r}: {part}' for name, part in parts.items())}}}"
    return _written(f"lambda values: {made}", scope)


def _loader(make: Any, reads: Mapping[int, Convert], width: int) -> Load:
    """Return the function that converts a row's columns and makes something of them; NULL is None everywhere."""
    scope = {"make": make, **{f"read{place}": read for place, read in reads.items()}}
    parts = [
        f"None if (value := row[{place}]) is None else read{place}(value)" if place in reads else f"row[{place}]" for place in range(width)
    ]
    return _written(f"lambda row: make({', '.join(parts)})", scope)


def _making(kind: Callable[..., Any], width: int) -> Callable[..., Any]:
    """Return what makes a `kind` of so many columns."""
    return maker(kind) if isinstance(kind, type) and is_plain(kind) and len(fields(kind)) == width else kind


def _written(source: str, scope: dict[str, Any]) -> Convert:
    function: Convert = eval(source, scope)  # noqa: S307 - made above of places and of names of our own, as `repr` writes them
    return function


def _reader(kind: Any, dialect: Dialect) -> Convert | None:
    if isinstance(kind, Float):  # every driver gives floats by itself, and PostgreSQL's would have to be asked for more
        return None
    read: Convert | None = kind.dialect_impl(dialect).result_processor(dialect, None)
    return read


def _named(columns: Sequence[Any]) -> Callable[..., Any]:
    names = [str(getattr(column, "name", "")) for column in columns]
    kind: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # noqa: PYI024 - made of whatever is selected
    made: Callable[..., Any] = kind
    return made
