"""Backups on disk: find them, newest first, and prove that one is sound before anything is touched. Only reads."""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

SIDE_FILES = (".sha256", "-wal", "-shm", "-journal")
"""Endings of files beside a backup that are no backups."""
SQLITE_HEADER = b"SQLite format 3\x00"
CHUNK = 1024 * 1024

DataKind = Literal["sqlite", "file", "folder"]


@dataclass(frozen=True, slots=True)
class Demands:
    """What makes a backup good enough."""

    kind: DataKind
    checksum_required: bool
    max_age: float | None
    """Seconds; None: any age."""


def find(place: Path) -> list[Path]:
    """Return the backups at `place` (a folder, or a path with `*` or `?` in its last parts), newest first by modification time."""
    pattern = place.name if any(sign in place.name for sign in "*?[") else ""
    folder = place.parent if pattern else place
    found = [path for path in folder.glob(pattern or "*") if not path.name.endswith(SIDE_FILES) and not path.name.startswith(".")]
    return sorted(found, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)


def fault(backup: Path, demands: Demands, now: float) -> str | None:
    """Return why `backup` must not be used, None if it verifies; `now` in epoch seconds."""
    try:
        age = now - backup.stat().st_mtime
        if demands.max_age is not None and age > demands.max_age:
            return f"is {age:.0f} s old, older than {demands.max_age:g} s"
        return _checksum_fault(backup, demands) or content_fault(backup, demands.kind)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def content_fault(path: Path, kind: DataKind) -> str | None:
    """Return what is wrong with the content itself, None if it is sound as far as its kind tells."""
    if (kind == "folder") != path.is_dir():
        return "is a folder" if path.is_dir() else "is not a folder"
    if kind == "folder":
        return None if any(files_of(path)) else "is empty"
    if path.stat().st_size == 0:
        return "is empty"
    return _sqlite_fault(path) if kind == "sqlite" else None


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's relative paths and contents, as hex."""
    if not path.is_dir():
        return _file_digest(path)
    total = hashlib.sha256()
    for file in files_of(path):
        total.update(f"{file.relative_to(path)}\0{_file_digest(file)}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def files_of(path: Path) -> Iterator[Path]:
    """Yield `path` itself, or for a folder every file in it, in order of their names."""
    if not path.is_dir():
        yield path
        return
    for root, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def _file_digest(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _checksum_fault(backup: Path, demands: Demands) -> str | None:
    """Compare with `<backup>.sha256`, as `sha256sum` writes it; for a folder it lists every file by its relative path."""
    listed = backup.with_name(f"{backup.name}.sha256")
    if not listed.exists():
        return f"has no checksum file {listed.name}" if demands.checksum_required else None
    lines = [line.split(maxsplit=1) for line in listed.read_text("utf-8", "surrogateescape").splitlines() if line.strip()]
    if not lines:
        return f"has an empty checksum file {listed.name}"
    if demands.kind != "folder":
        return None if lines[0][0].lower() == _file_digest(backup) else f"does not match its checksum file {listed.name}"
    expected = {line[-1].removeprefix("*").removeprefix("./"): line[0].lower() for line in lines}
    present = {str(file.relative_to(backup)): _file_digest(file) for file in files_of(backup)}
    wrong = sorted(name for name in expected.keys() | present.keys() if expected.get(name) != present.get(name))
    return f"does not match its checksum file {listed.name}: {', '.join(wrong[:3])}" if wrong else None


def _sqlite_fault(path: Path) -> str | None:
    with path.open("rb") as file:
        if file.read(len(SQLITE_HEADER)) != SQLITE_HEADER:
            return "is not an SQLite database"
    try:
        # immutable: SQLite neither locks the file nor makes -wal and -shm files beside it
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as database:
            answer = str(database.execute("PRAGMA integrity_check(3)").fetchone()[0])
    except sqlite3.Error as error:
        return f"fails SQLite's integrity check: {error}"
    return None if answer == "ok" else f"fails SQLite's integrity check: {answer.splitlines()[0]}"
