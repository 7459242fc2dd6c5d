"""Validate one table of the file through its pydantic model, with complaints in plain words and paths made absolute."""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from recovery.config.locate import Where
from recovery.config.problems import Report
from recovery.config.words import MUST_BE, describe, wrong_type
from recovery.models import JsonObject

M = TypeVar("M", bound=BaseModel)
NUMBERS = {"int_type", "float_type", "bool_type"}


@dataclass(frozen=True, slots=True)
class Text:
    """The file under validation."""

    written: JsonObject
    """As it stands in the file, for messages: references are not filled in, so no secret shows."""
    folder: Path
    """What relative paths are relative to."""
    report: Report

    def at(self, where: Where) -> object:
        """Return what is written at `where`, None when nothing is."""
        value: object = self.written
        for part in where:
            if not _holds(value, part):
                return None
            value = cast("Any", value)[part]
        return value


def validate(model: type[M], table: JsonObject, where: Where, text: Text, *, known: Collection[str] = ()) -> M | None:
    """Return `table` as a `model`, or None after reporting every error in it.

    Types are strict, with one exception: a value that is a `${NAME}` may become a number or a boolean.

    Args:
        model: refuses unknown keys.
        table: the keys and values to validate, `${...}` filled in.
        where: the place of the table in the file.
        text: the file, for messages.
        known: the allowed keys, for the nearest-name suggestion; default: the model's own.
    """
    valid = _valid(model, table, where, text, known)
    return valid[0] if valid else None


def options_of(model: type[BaseModel], table: JsonObject, where: Where, text: Text, *, known: Collection[str] = ()) -> JsonObject | None:
    """Return `table` validated by `model`, still as a table, its paths absolute; None after reporting what is wrong."""
    valid = _valid(model, table, where, text, known)
    return cast(JsonObject, _with_paths(*valid, text.folder)) if valid else None


def keys_of(model: type[BaseModel]) -> set[str]:
    """Return the keys that `model` reads from the file."""
    return {field.alias or name for name, field in model.model_fields.items()}


def _valid(model: type[M], table: JsonObject, where: Where, text: Text, known: Collection[str]) -> tuple[M, JsonObject] | None:
    try:
        return _strict(model, table), table
    except ValidationError as error:
        details = error.errors(include_url=False)
    table = _with_numbers(table, details, where, text)
    try:
        return _strict(model, table), table
    except ValidationError as error:
        details = error.errors(include_url=False)
    for place, message in _complaints(
        details, table, where, text, lambda loc: (known or keys_of(model)) if len(loc) == 1 else _keys_at(model, loc)
    ):
        text.report.error(place, message)
    return None


def _strict(model: type[M], table: JsonObject) -> M:
    return model.model_validate_json(json.dumps(table), strict=True)


def _with_numbers(table: JsonObject, details: list[ErrorDetails], where: Where, text: Text) -> JsonObject:
    """Return a copy of `table` in which references that should be numbers or booleans are such, where their text is one."""
    repaired: Any = deepcopy(table)
    for detail in details:
        place = _real(detail, table)
        written = text.at((*where, *place))
        if detail["type"] not in NUMBERS or not isinstance(written, str) or "${" not in written:
            continue
        parent = repaired
        for part in place[:-1]:
            parent = parent[part]
        with contextlib.suppress(ValueError, RecursionError):
            parent[place[-1]] = json.loads(parent[place[-1]])
    return cast("JsonObject", repaired)


def _complaints(
    details: list[ErrorDetails], table: JsonObject, where: Where, text: Text, known: Callable[[Where], Collection[str]]
) -> list[tuple[Where, str]]:
    """Return one message per place; the alternatives of a union become one message."""
    places: dict[Where, list[ErrorDetails]] = {}
    for detail in details:
        places.setdefault((*where, *_real(detail, table)), []).append(detail)
    found = []
    for place, errors in places.items():
        kinds = [error["type"] for error in errors]
        if not {*kinds} <= MUST_BE.keys():
            allowed = known(errors[0]["loc"])
            found.append((place, "; or ".join(dict.fromkeys(describe(error, text.at(place), allowed) for error in errors))))
        elif not any(other != place and other[: len(place)] == place for other in places):
            found.append((place, wrong_type(kinds, text.at(place))))
    return found


def _keys_at(model: type[BaseModel], loc: Where) -> set[str]:
    """Return the keys of the model that stands at the parent of `loc`; empty where that is no model."""
    at: object = model
    for part in loc[:-1]:
        if not (isinstance(at, type) and issubclass(at, BaseModel)):
            return set()
        fields = {field.alias or name: field.annotation for name, field in at.model_fields.items()}
        at = fields.get(str(part))
    return keys_of(at) if isinstance(at, type) and issubclass(at, BaseModel) else set()


def _real(detail: ErrorDetails, table: JsonObject) -> Where:
    """Return the place of an error without the names of union branches that pydantic mixes into it."""
    place: Where = ()
    value: Any = table
    loc = detail["loc"]
    for position, part in enumerate(loc):
        is_last = position == len(loc) - 1
        if _holds(value, part):
            value = value[part]
            place += (part,)
        elif is_last and detail["type"] == "missing":
            place += (part,)
    return place


def _holds(value: object, part: str | int) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


def _with_paths(valid: object, raw: JsonValue, folder: Path) -> JsonValue:
    """Return `raw` with every text that became a `Path` made absolute; a relative default is written out."""
    if isinstance(valid, Path):
        return os.path.abspath(folder / os.path.expanduser(valid))  # noqa: PTH111 - Path.expanduser raises for an unknown user
    if isinstance(valid, BaseModel) and isinstance(raw, dict):
        result = dict(raw)
        for name, field in type(valid).model_fields.items():
            key, value = field.alias or name, getattr(valid, name)
            if key in raw or isinstance(value, Path):
                result[key] = _with_paths(value, raw.get(key), folder)
        return result
    if isinstance(valid, Mapping) and isinstance(raw, dict):
        return {key: _with_paths(valid.get(key, item), item, folder) for key, item in raw.items()}
    if isinstance(valid, tuple | list) and isinstance(raw, list) and len(valid) == len(raw):
        return [_with_paths(value, item, folder) for value, item in zip(valid, raw, strict=True)]
    return raw
