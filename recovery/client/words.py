"""The words of a failure report as types, so that an editor completes them; a test keeps them equal to `recovery.models`.

They are repeated here because the models need pydantic, and importing the client must stay cheap.
"""

import functools
import logging
import re
from typing import Literal, get_args

from recovery.client.clean import clean_text, text_of
from recovery.errors import nearest

log = logging.getLogger("recovery.client")

CategoryName = Literal[
    "service_unavailable",
    "cache_corruption",
    "data_inconsistency",
    "circuit_open",
    "database",
    "cache",
    "queue_backlog",
    "network",
    "rate_limited",
    "memory_pressure",
    "cpu_pressure",
    "disk_pressure",
    "slow_responses",
    "high_error_rate",
    "unknown",
]
TypeName = Literal["timeout", "error", "resource_limit", "panic", "health_check", "initialization", "heartbeat", "anomaly"]
SeverityName = Literal["critical", "high", "medium", "low", "warning", "info"]
"""`warning` and `info` are what others call `medium` and `low`."""

CATEGORIES: frozenset[str] = frozenset(get_args(CategoryName))
TYPES: frozenset[str] = frozenset(get_args(TypeName))
SEVERITIES: frozenset[str] = frozenset(get_args(SeverityName))

_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


@functools.lru_cache(maxsize=256)  # a process reports for the same few services
def checked_name(service: str) -> str:
    """Return `service`; raises `ValueError` if no service can have this name."""
    if not _SERVICE.fullmatch(service):
        raise ValueError("a name has 1 to 100 letters, digits, '_', '.', '-' and begins with a letter or digit")
    return service


def known_word(word: object, words: frozenset[str], otherwise: str, what: str) -> str:
    """Return `word` in small letters, or `otherwise` if it is none of `words`: a report with a wrong word is better than none."""
    if type(word) is str and word in words:
        return word
    said = text_of(word).strip().lower()
    if said in words:
        return said
    log.warning(
        "failure report: '%s' is sent instead of the unknown %s '%s'%s",
        otherwise,
        what,
        clean_text(said[:100]),
        nearest(clean_text(said[:100]), words),
    )
    return otherwise
