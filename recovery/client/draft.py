"""A failure report in two halves: what must be taken on the caller's thread, and the message made of it on the sender's.

The first half costs microseconds: no traceback is formatted, nothing is redacted or encoded there.
"""

import functools
import json
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple

from recovery.client.clean import MAX_LABEL, clean, clean_text, text_of
from recovery.client.redaction import redact, redact_details

MAX_MESSAGE = 4_000
MAX_STACK = 32_000
LONGEST_TEXT = 2 * MAX_MESSAGE
"""Characters of a text that are taken: what waits in memory is bounded, and a secret at the cut is still seen whole."""
MAX_DETAILS = 16_000
MAX_FRAMES = 50
MAX_CAUSES = 5
NO_DETAILS = "{}"

Frame = tuple[str, int, str]
"""File, line, function."""


class Seen(NamedTuple):
    """An exception as far as it is needed later, without its frames' variables."""

    kind: str
    text: str
    frames: tuple[Frame, ...]
    cause: "Seen | None" = None


class Draft(NamedTuple):
    """One report, taken but not yet encoded. A tuple, because it is made on the caller's thread."""

    id: str
    service: str
    category: str
    type: str
    severity: str
    message: str
    source: str
    occurred_at: float
    """Seconds since the epoch."""
    details: str
    """A JSON object."""
    labels: Mapping[str, str]
    recoverable: bool = True
    fingerprint: str = ""
    error: Seen | None = None


class Beat(NamedTuple):
    """A sign of life of one service."""

    service: str
    at: float
    """Seconds since the epoch."""


def see(error: BaseException, depth: int = 0) -> Seen:
    """Take from an exception and its causes what a report needs."""
    frames: list[Frame] = []
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append((code.co_filename, traceback.tb_lineno, code.co_qualname))
        traceback = traceback.tb_next
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    earlier = see(cause, depth + 1) if cause is not None and depth < MAX_CAUSES else None
    return Seen(type(error).__qualname__, text_of(error)[:LONGEST_TEXT], tuple(frames[-MAX_FRAMES:]), earlier)


def take_details(details: object) -> str:
    """Return `details` as JSON, taken now because the caller may change them; what is no JSON becomes text, too much becomes a note."""
    if details is None:
        return NO_DETAILS
    try:
        text = json.dumps(dict(details) if isinstance(details, Mapping) else {"details": details}, default=text_of, skipkeys=True)
    except Exception as error:  # noqa: BLE001 - a circle, no end of nesting, or a mapping that breaks while it is read
        return json.dumps({"unreadable": f"the details could not be made into JSON: {type(error).__name__}"})
    return text if len(text) <= MAX_DETAILS else json.dumps({"truncated": f"{len(text)} characters of details were left out"})


def kind_of(error: BaseException | None) -> str:
    """Return the type of failure that an exception stands for."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, MemoryError | RecursionError):
        return "resource_limit"
    return "error"


def encode(draft: Draft) -> bytes:
    """Return the report as the JSON message that the intake reads, without secrets and within its limits."""
    details = {} if draft.details is NO_DETAILS else redact_details(clean(json.loads(draft.details)))
    message = clean_text(draft.message)
    if draft.error is not None:
        assert isinstance(details, dict)
        details.setdefault("error_type", draft.error.kind)
        message = message or clean_text(f"{draft.error.kind}: {draft.error.text}")
    report: dict[str, object] = {
        "id": draft.id,
        "service": draft.service,
        "category": draft.category,
        "type": draft.type,
        "severity": draft.severity,
        "message": redact(message[:LONGEST_TEXT])[:MAX_MESSAGE],
        "source": clean_text(draft.source),
        "occurred_at": round(draft.occurred_at, 6),
        "recoverable": draft.recoverable,
    }
    if details:
        report["details"] = details
    if draft.labels:
        labels = redact_details(clean(dict(draft.labels)))
        assert isinstance(labels, dict)
        report["labels"] = {name: value[:MAX_LABEL] for name, value in labels.items()}
    if draft.fingerprint:
        report["fingerprint"] = clean_text(draft.fingerprint)
    if draft.error is not None:
        report["stack"] = clean_text(_stack(draft.error)[-MAX_STACK:])
    return json.dumps(report).encode()


def _stack(error: Seen) -> str:
    """Return the traceback of an exception and its causes, without secrets; the end matters most, so it comes last."""
    earlier = f"{_stack(error.cause)}\nwhich led to:\n\n" if error.cause else ""
    return f"{earlier}{_frames(error.frames)}{error.kind}: {redact(error.text)}\n"


@functools.lru_cache(maxsize=256)  # a failing service fails at the same place again and again
def _frames(frames: tuple[Frame, ...]) -> str:
    import linecache

    lines = ["Traceback (most recent call last):\n"]
    for file, line, function in frames:
        lines.append(f'  File "{file}", line {line}, in {function}\n')
        source = linecache.getline(file, line).strip()
        if source:
            lines.append(f"    {source}\n")
    return redact("".join(lines))
