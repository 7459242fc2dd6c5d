"""Say in plain words what pydantic found wrong with a declared value."""

import re
from collections.abc import Collection, Iterable

from pydantic_core import ErrorDetails

from recovery.errors import listing, nearest

MUST_BE = {
    "string_type": "text in quotes",
    "path_type": "a path in quotes",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
}
LIMITS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
NAME_RULE = "1 to 100 letters, digits, '_', '.' or '-', beginning with a letter or digit"
LONGEST_SHOWN = 40


def shown(value: object) -> str:
    """Return a declared value as a person reads it; long text is cut."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value:g}" if isinstance(value, float) else str(value)[:LONGEST_SHOWN]
        case str():
            cut = value if len(value) <= LONGEST_SHOWN else f"{value[:LONGEST_SHOWN]}..."
            return f"the text {cut!r}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


def wrong_type(kinds: Iterable[str], written: object) -> str:
    """Return which types are allowed, for pydantic error types that are all in `MUST_BE`."""
    allowed = dict.fromkeys(MUST_BE[kind] for kind in kinds)
    return f"must be {' or '.join(allowed)}, not {shown(written)}"


def describe(error: ErrorDetails, written: object, known: Collection[str]) -> str:
    """Return what is wrong, with the nearest right name where a name is wrong.

    Args:
        error: one entry of pydantic's `errors()`.
        written: the value as it stands in the file, before `${...}` was filled in, so that no secret is shown.
        known: the keys that are allowed where the error is.
    """
    kind, context = error["type"], error.get("ctx", {})
    match kind:
        case _ if kind in MUST_BE:
            said = wrong_type([kind], written)
        case _ if kind in LIMITS:
            word, limit = LIMITS[kind]
            said = f"must be {word} {shown(context[limit])}, not {shown(written)}"
        case "extra_forbidden":
            said = "unknown key" + (nearest(str(error["loc"][-1]), known) or f" (known: {listing(known)})")
        case "timezone_aware" | "datetime_parsing" | "datetime_from_date_parsing":
            said = f"must be a moment with its offset, like '2026-11-30T02:00:00Z', not {shown(written)}"
        case "time_parsing":
            said = f"must be a time of day, like '02:00', not {shown(written)}"
        case "missing":
            said = "is required, but missing"
        case "enum" | "literal_error":
            said = _choice(error["loc"], str(context["expected"]), written)
        case "string_pattern_mismatch" if context["pattern"] == NAME_PATTERN:
            said = f"{_text(written)} is not a valid name: {NAME_RULE}"
        case _:
            said = _plain(error["msg"])
    return said


def _choice(loc: tuple[int | str, ...], expected: str, written: object) -> str:
    choices = re.findall(r"'([^']*)'", expected)
    value = str(loc[-2]) if loc[-1:] == ("[key]",) else written
    if not isinstance(value, str):
        return f"must be one of {listing(choices)}, not {shown(value)}"
    return f"{value[:LONGEST_SHOWN]!r} is not known{nearest(value, choices)} (known: {listing(choices)})"


def _text(written: object) -> str:
    return repr(written[:LONGEST_SHOWN]) if isinstance(written, str) else "this"


def _plain(message: str) -> str:
    said = re.sub(r"^Input should", "must", message).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return said[:1].lower() + said[1:].rstrip(".")
