"""How our words become columns: aware times, enums, JSON and plans. Every bind value passes through here once."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Generic, TypeVar

from pydantic import JsonValue
from pydantic_core import from_json, to_json
from sqlalchemy import JSON as SQL_JSON
from sqlalchemy import DateTime, Dialect, String, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator

from recovery.models import JsonObject, Plan

E = TypeVar("E", bound=StrEnum)

PLANS_REMEMBERED = 512
MOMENTS_REMEMBERED = 64
_TEXT_LENGTH = len("2026-01-01 12:00:00.000000")

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


class Utc(TypeDecorator[datetime]):
    """An aware moment: `timestamptz` on PostgreSQL, fixed-width UTC text on SQLite, so that comparing is correct on both."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Write text by `datetime` itself where the database keeps text: every row has some, and SQLAlchemy's formatting is slow."""
        return _utc_text if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Read that text the same way."""
        return _utc_in if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive time: nobody can say which moment it means."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; times must be aware")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Give the time zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _utc_text(value: datetime | None) -> str | None:
    if value is None:
        return None
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; times must be aware")
        value = value.astimezone(UTC)
    return _text_of(value)


@lru_cache(MOMENTS_REMEMBERED)
def _text_of(moment: datetime) -> str:
    """One transaction writes the same moment many times. In UTC, equal moments have equal texts."""
    return moment.isoformat(" ", "microseconds")[:_TEXT_LENGTH]


def _utc_in(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text + "+00:00")


class Word(TypeDecorator[E], Generic[E]):
    """A member of one enum, stored as its value.

    Args:
        enum: the enum.
    """

    impl = String(32)
    cache_ok = True

    def __init__(self, enum: type[E]) -> None:
        super().__init__()
        self.enum = enum

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ARG002  # SQLAlchemy's signature
        """Do what `process_bind_param` does, without SQLAlchemy's steps in between."""
        return lambda value: None if value is None else str(value)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Look members up without asking the enum's class."""
        return _Members(self.enum).__getitem__

    def process_bind_param(self, value: E | str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Store the value."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> E | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Give the member back."""
        return None if value is None else self.enum(value)


class _Members(dict[str | None, Any]):
    """The members of an enum by value, and None by itself; raises the enum's own error for others."""

    def __init__(self, enum: type[StrEnum]) -> None:
        super().__init__({str(member): member for member in enum} | {None: None})
        self._enum = enum

    def __missing__(self, value: str) -> StrEnum:
        return self._enum(value)


class Prose(TypeDecorator[str]):
    """Text from outside, without what a database refuses (NUL, lone surrogates): a report must not be lost over one character."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ARG002  # SQLAlchemy's signature
        """Do what `process_bind_param` does, without SQLAlchemy's steps in between."""
        return lambda value: None if value is None else storable(value)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002  # SQLAlchemy's signature
        """Replace the characters that cannot be stored."""
        return None if value is None else storable(value)


class Json(TypeDecorator[JsonObject]):
    """A JSON object; `jsonb` on PostgreSQL."""

    impl = SQL_JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Choose `jsonb` where there is one."""
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else SQL_JSON())

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any] | None:
        """Write text without SQLAlchemy's steps in between where the database keeps text."""
        return dump_json if dialect.name == "sqlite" else super().bind_processor(dialect)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Read that text the same way."""
        return _json_in if dialect.name == "sqlite" else super().result_processor(dialect, coltype)


def _json_in(text: str | None) -> Any:
    return None if text is None else from_json(text)


class PlanJson(TypeDecorator[Plan]):
    """A plan as JSON. Recoveries share few plans, so texts that were read or written before are not parsed or dumped again."""

    impl = Json
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Choose `jsonb` where there is one, else text, which can be remembered."""
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else Text())

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Look texts up without SQLAlchemy's steps in between."""
        return _plan_in if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_bind_param(self, value: Plan | None, dialect: Dialect) -> Any:
        """Dump the plan."""
        if value is None:
            return None
        return value.model_dump(mode="json") if dialect.name == "postgresql" else _plan_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Plan | None:
        """Validate it back."""
        return _plan_in(value) if dialect.name == "sqlite" or value is None else Plan.model_validate(value)


@lru_cache(PLANS_REMEMBERED)
def _plan_text(plan: Plan) -> str:
    return dump_json(plan.model_dump(mode="json"))


@lru_cache(PLANS_REMEMBERED)
def _plan_in(text: str | None) -> Plan | None:
    return None if text is None else Plan.model_validate_json(text)


def storable(text: str) -> str:
    """Return `text` with NUL and lone surrogates replaced."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def dump_json(value: JsonValue) -> str:
    """Return `value` as JSON that SQLite and PostgreSQL both take; numbers that are not finite become text."""
    try:
        text = to_json(value, inf_nan_mode="strings").decode()
    except ValueError:  # a lone surrogate
        return _encode(_storable_json(value))
    return text if "\\u0000" not in text else _encode(_storable_json(value))


def _storable_json(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return storable(value)
        case float() if not math.isfinite(value):
            return str(value)
        case list():
            return [_storable_json(item) for item in value]
        case dict():
            return {storable(key): _storable_json(item) for key, item in value.items()}
        case _:
            return value
