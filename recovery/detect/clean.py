"""Make whatever a check found fit for every database and message: plain JSON, valid Unicode, no NUL characters.

Checks quote what they met (an answer, a program's output, a key), and third parties' details may hold anything.
"""

import math
from dataclasses import replace

from pydantic import JsonValue

from recovery.models import JsonObject
from recovery.ports import Finding

UNREADABLE = "\N{REPLACEMENT CHARACTER}"


def clean(finding: Finding) -> Finding:
    """Return `finding` with a storable message and details."""
    details: JsonObject = {_text(key): _plain(value) for key, value in finding.details.items()}
    return replace(finding, ok=bool(finding.ok), message=_text(finding.message), details=details)


def _text(value: object) -> str:
    # PostgreSQL stores neither NUL nor half of a surrogate pair.
    return str(value).replace("\0", UNREADABLE).encode(errors="replace").decode()


def _plain(value: object) -> JsonValue:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case dict():
            return {_text(key): _plain(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value]
        case _:
            return _text(value)
