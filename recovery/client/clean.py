"""Make whatever a caller hands over fit for a message that the intake accepts: a report must not be lost over an odd value."""

import math
from collections.abc import Mapping
from itertools import islice

UNREADABLE = "\N{REPLACEMENT CHARACTER}"
DEEPEST = 30
"""Levels of tables and lists in each other; deeper ones become text, because readers of JSON give up somewhere, too."""
LARGEST_NUMBER = 2**63
MAX_LABELS = 50
MAX_LABEL_NAME = 100
MAX_LABEL = 500
"""Characters of a label's value."""


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
    """Return labels as texts by name, the first 50; what is no mapping becomes one label.

    Values are taken at twice the length that is sent, so that a secret at the cut is still seen whole.
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        labels = {"label": labels}
    taken = islice(labels.items(), MAX_LABELS)
    return {text_of(name)[:MAX_LABEL_NAME]: text_of(value)[: 2 * MAX_LABEL] for name, value in taken}


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
