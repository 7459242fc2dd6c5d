"""Records as JSON objects, field by field: what a decision rested on is written with every decision, and pydantic takes twice as long.

What is written is what pydantic reads back (`record.facts_of`).
"""

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import cache, lru_cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from pydantic import AwareDatetime

from recovery.models import JsonObject, Plan

PLANS_REMEMBERED = 512
MOMENTS_REMEMBERED = 64


def plain(item: Any, instead: JsonObject | None = None) -> JsonObject:
    """Return the fields of a record, a dataclass or a model, as JSON; some of them as `instead` says."""
    kind: Any = type(item)
    made: JsonObject = _writer(kind)(item)
    return made | instead if instead else made


@cache
def _writer(kind: Any) -> Callable[[Any], JsonObject]:
    """Return the function that writes a `kind`, made of the types of its fields."""
    fields = getattr(kind, "model_fields", None) or kind.__dataclass_fields__
    hints = get_type_hints(kind)
    parts = [f"{name!r}: {_part(f'item.{name}', hints[name])}" for name in fields]
    source = f"lambda item: {{{', '.join(parts)}}}"
    writer: Callable[[Any], JsonObject] = eval(source, {"plan_of": _plan, "text_of": _text})  # noqa: S307 - made above of names of fields
    return writer


def _part(field: str, hint: Any) -> str:
    """Return the Python that turns a field into JSON."""
    kinds = [one for one in get_args(hint) or (hint,) if one is not NoneType]
    kind = kinds[0] if len(kinds) == 1 else None
    if kind is Plan:
        return f"plan_of({field})"
    if kind in {datetime, AwareDatetime}:
        written = f"text_of({field})"
    elif isinstance(kind, type) and issubclass(kind, StrEnum):
        written = f"str({field})"
    else:  # JSON by itself; tuples are written as lists
        return f"list({field})" if str(hint).startswith("tuple") else field
    return f"None if {field} is None else {written}" if len(get_args(hint)) > 1 else written


@lru_cache(MOMENTS_REMEMBERED)
def _text(moment: datetime) -> str:
    """One decision names the same moments again and again. Equal ones are the same moment, whatever their time zones."""
    return moment.isoformat()


@lru_cache(PLANS_REMEMBERED)
def _plan(plan: Plan) -> JsonObject:
    """Recoveries share few plans."""
    return plan.model_dump(mode="json")
