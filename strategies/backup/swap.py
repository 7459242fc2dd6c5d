"""Put a verified copy in the place of a broken original, in moves that each survive a crash. The original is kept, never deleted."""

import os
import shutil
from datetime import datetime
from pathlib import Path

from recovery.errors import StepFailed
from strategies.backup.candidates import DataKind, content_fault, digest, files_of

COMPANIONS = ("-wal", "-shm", "-journal")
"""SQLite's own files beside a database; a stale one would be played into the restored data."""


def staged_name(path: Path, recovery_id: str) -> Path:
    """Return where the copy of a backup is prepared: beside the original, so that one rename puts it in place."""
    return path.with_name(f".{path.name}.restore-{recovery_id[:8]}")


def aside_name(path: Path, at: datetime, word: str = "broken") -> Path:
    """Return a name, to keep what is at `path`, that nothing has yet: `<path>.<word>-<UTC time>`."""
    base = path.with_name(f"{path.name}.{word}-{at:%Y%m%dT%H%M%SZ}")
    taken = 0
    while (name := base if not taken else base.with_name(f"{base.name}-{taken}")).exists():
        taken += 1
    return name


def stage(backup: Path, staged: Path, original: Path, kind: DataKind, expected: str) -> None:
    """Copy `backup` to `staged`, with the original's mode and owner, force it to the disk and verify the copy.

    Raises `StepFailed` if the copy is not what was chosen, or does not fit on the disk.
    """
    discard(staged)
    try:
        if kind == "folder":
            shutil.copytree(backup, staged, symlinks=True)
        else:
            shutil.copyfile(backup, staged)
        like = original if original.exists() else backup
        _copy_rights(like, staged)
        for file in files_of(staged):
            _sync(file)
        _sync(staged.parent)
    except OSError as error:
        discard(staged)
        raise StepFailed(f"cannot copy {backup} to {staged}: {error.strerror or error}") from error
    trouble = content_fault(staged, kind) or (None if digest(staged) == expected else "differs from the backup that was chosen")
    if trouble:
        discard(staged)
        raise StepFailed(f"the copy of {backup} {trouble}")


def set_aside(path: Path, aside: Path, kind: DataKind) -> list[str]:
    """Keep the original as `aside`, and move its companions; return what was kept. May be repeated.

    A file stays reachable at `path` (as a second link) until the restored one replaces it, so that no reader finds nothing
    and no service makes an empty one. Raises `StepFailed` if the folder cannot be written.
    """
    try:
        if kind == "sqlite":
            for ending in COMPANIONS:
                _move(Path(f"{path}{ending}"), Path(f"{aside}{ending}"))
        if path.exists() and not aside.exists():
            _link_or_move(path, aside, kind)
        _sync(path.parent)
    except OSError as error:
        raise StepFailed(f"cannot set {path} aside as {aside.name}: {error.strerror or error}") from error
    return [str(kept) for kept in (aside, *(Path(f"{aside}{ending}") for ending in COMPANIONS)) if kept.exists()]


def is_set_aside(path: Path, aside: Path, kind: DataKind) -> bool:
    """Say whether `set_aside` is complete: the original is kept (or there is none) and no companion is left."""
    if kind == "sqlite" and any(Path(f"{path}{ending}").exists() for ending in COMPANIONS):
        return False
    return aside.exists() and (not path.exists() or path.samefile(aside))


def put_back(path: Path, aside: Path, kind: DataKind) -> None:
    """Undo `set_aside`, whole or in part: the companions first, then the original. May be repeated.

    Raises `StepFailed`, and touches nothing, if something else is at `path` by now.
    """
    if aside.exists() and path.exists() and not path.samefile(aside):
        raise StepFailed(f"something else is at {path} by now; the original is kept as {aside.name}")
    try:
        if kind == "sqlite":
            for ending in COMPANIONS:
                if not Path(f"{path}{ending}").exists():
                    _move(Path(f"{aside}{ending}"), Path(f"{path}{ending}"))
        if aside.exists() and path.exists():
            aside.unlink()  # the second name of one file
        elif aside.exists():
            aside.rename(path)
        _sync(path.parent)
    except OSError as error:
        raise StepFailed(f"cannot put {aside.name} back to {path}: {error.strerror or error}") from error


def is_aside(aside: Path, kind: DataKind) -> bool:
    """Say whether anything is still kept as `aside`."""
    return aside.exists() or (kind == "sqlite" and any(Path(f"{aside}{ending}").exists() for ending in COMPANIONS))


def put_in_place(staged: Path, path: Path) -> None:
    """Rename the verified copy over the original and force that to the disk."""
    try:
        staged.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise StepFailed(f"cannot put {staged} in the place of {path}: {error.strerror or error}") from error


def discard(staged: Path) -> None:
    """Remove a copy that was prepared and not used."""
    if staged.is_dir() and not staged.is_symlink():
        shutil.rmtree(staged)
    else:
        staged.unlink(missing_ok=True)


def _link_or_move(path: Path, aside: Path, kind: DataKind) -> None:
    if kind == "folder":
        path.rename(aside)
        return
    try:
        aside.hardlink_to(path)
    except OSError:  # a file system without hard links: a moment without the file is the best there is
        path.rename(aside)


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)


def _copy_rights(source: Path, target: Path) -> None:
    shutil.copymode(source, target)
    if os.geteuid() == 0:
        owner = source.stat()
        for file in (target, *files_of(target)):
            os.chown(file, owner.st_uid, owner.st_gid)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
