"""Files of JSON lines that survive any death of who writes them: one write per line, on disk before it returns."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path


class Phase(StrEnum):
    """What a line of a patient's ledger tells."""

    SICK = "sick"
    """The campaign made the patient ill."""
    BEGUN = "begun"
    """A worker is about to do a step; it has not asked the guard yet."""
    EFFECT = "effect"
    """The side effect itself: the patient lives by these lines."""
    REFUSED = "refused"
    """The patient knows fences and sent an older one away."""
    RECONCILED = "reconciled"
    """A successor asked whether the step had taken effect; `found` is the answer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a patient's ledger."""

    at: float
    """Epoch seconds, as all times here."""
    service: str
    phase: Phase
    recovery: str = ""
    attempt: int = 0
    step: str = ""
    fence: int = 0
    asked: float = 0.0
    """Right before the worker asked the guard; a fence that was granted earlier than this must have been seen by it."""
    found: bool = False
    pid: int = 0
    dwell: float = 0.0
    """With `sick`: seconds that each step of the remedy takes."""


_FIELDS = frozenset(field.name for field in fields(Entry))


def append(path: Path, line: Mapping[str, object]) -> None:
    """Add one line and return when it is on disk."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(line, separators=(",", ":")).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


def lines(path: Path) -> Iterator[dict[str, object]]:
    """Return the lines of a file, none if nobody wrote one yet."""
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def write(path: Path, entry: Entry) -> None:
    """Add one entry to a patient's ledger."""
    append(path, asdict(entry))


def read(text: str) -> list[Entry]:
    """Return the entries in the text of a ledger, or of a part of one."""
    return [_entry(json.loads(line)) for line in text.splitlines()]


def _entry(found: dict[str, object]) -> Entry:
    known = {name: value for name, value in found.items() if name in _FIELDS}
    return Entry(**{**known, "phase": Phase(str(found["phase"]))})  # type: ignore[arg-type] # our own lines
