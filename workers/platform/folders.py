"""Private folders and the locks in them: nobody else may read what they hold, and one process at a time may own one."""

import contextlib
import fcntl
import os
import stat
from pathlib import Path

from recovery.errors import ConfigurationError


def private_folder(path: Path) -> Path:
    """Make `path` a folder that only this user can enter (mode 0700) and return it.

    A folder in `/tmp` could be laid there by somebody else to get at our socket, so one that is a link, belongs to another
    user or may be written by everybody is refused, not repaired.

    Raises:
        ConfigurationError: the folder cannot be made or is not safely ours.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
        _refuse_strangers(path, found)
        if stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise ConfigurationError(f"The folder {path} cannot be used: {error.strerror}. Set RECOVERY_DATA_DIR to your own.") from error
    return path


def _refuse_strangers(path: Path, found: os.stat_result) -> None:
    if stat.S_ISLNK(found.st_mode):
        problem = "is a symbolic link"
    elif not stat.S_ISDIR(found.st_mode):
        problem = "is not a folder"
    elif found.st_uid != os.getuid():
        problem = f"belongs to another user (id {found.st_uid})"
    elif found.st_mode & stat.S_IWOTH:
        problem = "may be written by everybody"
    else:
        return
    raise ConfigurationError(f"{path} {problem}, so it is not safe for private data. Set RECOVERY_DATA_DIR to a folder of your own.")


class FolderLock:
    """A lock that the system itself lets go when its holder dies; the file names the holder.

    Args:
        path: the lock file, in a private folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Say whether this object holds the lock."""
        return self._fd is not None

    def acquire(self) -> bool:
        """Take the lock if it is free, without waiting, and say whether it is ours now."""
        if self._fd is not None:
            return True
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return True

    def release(self) -> None:
        """Let the lock go; harmless when it is not held."""
        if self._fd is not None:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = None

    def holder(self) -> int | None:
        """Return the process id that the holder wrote, None when there is none."""
        try:
            return int(self.path.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None
