"""Reports that could not be delivered, on disk: bounded, private, shared by the processes of one user.

SQLite in WAL mode; a connection lives for one call only, so that forks and crashes leave nothing behind.
"""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from recovery.client.redaction import redact

if TYPE_CHECKING:
    import sqlite3

MAX_REPORTS = 10_000
MAX_BYTES = 64 * 1024 * 1024

_SCHEMA = "CREATE TABLE IF NOT EXISTS reports (number INTEGER PRIMARY KEY AUTOINCREMENT, size INTEGER NOT NULL, report BLOB NOT NULL)"
_EXCESS = """
DELETE FROM reports WHERE number <= (
    SELECT MAX(number) FROM (
        SELECT number, ROW_NUMBER() OVER newest AS place, SUM(size) OVER newest AS bytes
        FROM reports WINDOW newest AS (ORDER BY number DESC)
    ) WHERE place > ? OR bytes > ?
)
"""


class Spool:
    """One file per Redis URL in a folder that only this user may read.

    Args:
        folder: Made with mode 0700 when first needed; one that belongs to somebody else is refused.
        url: Reports for one platform never reach another.
        max_reports: At most this many wait; the oldest go first. Default 10,000.
        max_bytes: At most this many bytes wait. Default 64 MiB.

    Every method may raise `OSError`, also for whatever SQLite says.
    """

    def __init__(self, folder: Path, url: str, max_reports: int = MAX_REPORTS, max_bytes: int = MAX_BYTES) -> None:
        import hashlib  # late, like sqlite3: importing the client must stay cheap

        self._folder = folder
        self.file = folder / f"{hashlib.sha256(redact(url).encode()).hexdigest()[:16]}.db"
        self._max_reports = max_reports
        self._max_bytes = max_bytes

    def add(self, reports: Sequence[bytes]) -> int:
        """Keep the reports; return how many old ones had to go for them."""
        self._make_private()
        with self._open() as database:
            database.executemany("INSERT INTO reports (size, report) VALUES (?, ?)", [(len(report), report) for report in reports])
            return database.execute(_EXCESS, (self._max_reports, self._max_bytes)).rowcount

    def oldest(self, limit: int) -> list[tuple[int, bytes]]:
        """Return up to `limit` reports with their numbers, oldest first."""
        if not self.file.exists():
            return []
        with self._open() as database:
            return database.execute("SELECT number, report FROM reports ORDER BY number LIMIT ?", (limit,)).fetchall()

    def remove(self, numbers: Collection[int]) -> None:
        """Forget delivered reports."""
        with self._open() as database:
            database.executemany("DELETE FROM reports WHERE number = ?", [(number,) for number in numbers])

    def count(self) -> int:
        """Return how many reports wait."""
        if not self.file.exists():
            return 0
        with self._open() as database:
            return int(database.execute("SELECT COUNT(*) FROM reports").fetchone()[0])

    @contextmanager
    def drainer(self) -> Iterator[bool]:
        """Hold the right to deliver, which one process at a time has; yields whether it was free."""
        try:
            import fcntl
        except ImportError:  # no file locks here: two processes may deliver the same report, and its id makes that harmless
            yield True
            return
        with self.file.with_suffix(".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True

    @contextmanager
    def _open(self) -> Iterator["sqlite3.Connection"]:
        import sqlite3  # late: most processes never spool

        try:
            with closing(sqlite3.connect(self.file, timeout=0.5)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                database.execute("PRAGMA synchronous=NORMAL")
                database.execute(_SCHEMA)
                with database:
                    yield database
        except sqlite3.Error as error:
            raise OSError(f"{type(error).__name__}: {error}") from error

    def _make_private(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._folder.stat()
        if found.st_uid != os.getuid():
            raise PermissionError(f"{self._folder} belongs to somebody else, so no report is kept in it; give a spool folder of your own.")
        if stat.S_IMODE(found.st_mode) & 0o077:
            self._folder.chmod(0o700)
