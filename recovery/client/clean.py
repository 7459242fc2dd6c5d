"""Make whatever a caller hands over fit for a message that the intake accepts: a report must not be lost over an odd value."""

import math
from collections.abc import Mapping

UNREADABLE = "\N{REPLACEMENT CHARACTER}"
DEEPEST = 30
"""Levels of tables and lists in each other; deeper ones become text, because readers of JSON give up somewhere, too."""
LARGEST_NUMBER = 2**63


def text_of(value: object) -> str:
    """Return `value` as text, empty for None; one whose text cannot be made is told as such."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a broken __str__ must not break the report of it
        return "(its text could not be made)"


def labels_of(labels: object) -> dict[str, str]:
    """Return labels as texts by name; what is no mapping becomes one label."""
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        return {"label": text_of(labels)}
    return {text_of(name): text_of(value) for name, value in labels.items()}


def clean(value: object, depth: int = 0) -> object:
    """Return a JSON value without NUL and lone surrogates, numbers that databases refuse, and too deep nesting."""
    if isinstance(value, str):
        return clean_text(value)
    if depth > DEEPEST and isinstance(value, dict | list):
        return "(too deep)"
    if isinstance(value, dict):
        return {clean_text(key): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [clean(item, depth + 1) for item in value]
    is_odd = isinstance(value, int | float) and not (math.isfinite(value) and -LARGEST_NUMBER <= value < LARGEST_NUMBER)
    return str(value) if is_odd else value


def clean_text(text: str) -> str:
    """Return `text` with replacement characters for NUL and lone surrogates, which databases and JSON readers refuse."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", UNREADABLE).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
