"""Counts what becomes of reports, and says it when one is lost."""

import logging
from threading import RLock
from typing import NamedTuple

log = logging.getLogger("recovery.client")


class Stats(NamedTuple):
    """What became of the reports of this process so far."""

    sent: int = 0
    """Delivered to Redis, directly or from disk (also those that an earlier process left there)."""
    spooled: int = 0
    """Written to disk because Redis was away; once delivered they count as sent, too."""
    dropped: int = 0
    """Lost: the queue or the disk's share was full, or the report could not be made into a message."""
    queued: int = 0
    """On their way right now."""


class Counts:
    """Thread-safe counters behind `Stats`."""

    def __init__(self) -> None:
        self._lock = RLock()  # a signal handler may count while the caller that it interrupted does
        self.stats = Stats()

    def add(self, *, sent: int = 0, spooled: int = 0) -> None:
        """Count reports that went well so far."""
        with self._lock:
            now = self.stats
            self.stats = now._replace(sent=now.sent + sent, spooled=now.spooled + spooled)

    def drop(self, count: int, why: str) -> None:
        """Count lost reports; say so at the first and whenever their number has doubled."""
        with self._lock:
            before = self.stats.dropped
            self.stats = self.stats._replace(dropped=before + count)
        if count and before.bit_length() != (before + count).bit_length():
            log.error("%d failure report(s) lost so far: %s", before + count, why)
