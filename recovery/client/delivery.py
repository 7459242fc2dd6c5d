"""Carries reports into the stream `recovery:reports`, or to disk while Redis is away, and from there into the stream later.

A write that timed out may have arrived all the same: it is sent again, and the intake knows it by its id.
"""

import logging
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from recovery.client.connection import Backoff, connect
from recovery.client.counts import Counts
from recovery.client.redaction import redact
from recovery.client.spool import Spool

if TYPE_CHECKING:
    from redis import Redis

STREAM = "recovery:reports"
FIELD = "failure"
STREAM_LENGTH = 100_000
"""The stream keeps about this many reports when nobody drains it; the oldest go first."""
HEARTBEAT = "recovery:heartbeat:"
SLICE = 256
RETRY = 1.0
"""Seconds between looks at the spool while another process is delivering it."""

log = logging.getLogger("recovery.client")


class Delivery:
    """The road to Redis, with the disk beside it. Used by one thread; only `keep` may be called by another."""

    def __init__(self, url: str, spool: Spool, counts: Counts) -> None:
        self._url = url
        self._spool = spool
        self._counts = counts
        self._backoff = Backoff()
        self._redis: Redis | None = None
        self._spool_pending = spool.file.exists()
        self._look_at = 0.0

    @property
    def pending(self) -> bool:
        """Say whether reports may wait on disk."""
        return self._spool_pending

    def next_try(self) -> float | None:
        """Return in how many seconds the spool wants another look, None if nothing waits there."""
        return max(self._backoff.waiting, self._look_at - monotonic(), 0.0) if self._spool_pending else None

    def carry(self, reports: Sequence[bytes], beats: Mapping[str, float]) -> None:
        """Deliver reports and signs of life; reports go to disk if Redis is away, signs of life are worth nothing later."""
        if self._backoff.waiting or not self._reach(reports, beats):
            self.keep(reports)
            return
        self._counts.add(sent=len(reports))
        if self._spool_pending and self._look_at <= monotonic():
            self._deliver_spooled()

    def close(self) -> None:
        """Close the connection."""
        if self._redis is not None:
            self._redis.close()

    def _reach(self, reports: Sequence[bytes], beats: Mapping[str, float]) -> bool:
        from redis.exceptions import RedisError

        try:
            self._redis = self._redis or connect(self._url)
            with self._redis.pipeline(transaction=False) as pipeline:
                for report in reports:
                    pipeline.xadd(STREAM, {FIELD: report}, maxlen=STREAM_LENGTH, approximate=True)
                for service, at in beats.items():
                    pipeline.set(HEARTBEAT + service, f"{at:.3f}")
                if reports or beats:
                    pipeline.execute()
                else:
                    self._redis.ping()
        except (RedisError, OSError) as error:
            if self._backoff.failed():
                log.warning(
                    "Redis at %s does not answer (%s); failure reports wait in %s", redact(self._url), redact(str(error)), self._spool.file
                )
            return False
        if self._backoff.succeeded():
            log.warning("Redis at %s answers again", redact(self._url))
        return True

    def keep(self, reports: Sequence[bytes]) -> None:
        """Put reports on disk for later."""
        if not reports:
            return
        try:
            pushed_out = self._spool.add(reports)
        except OSError as error:
            self._counts.drop(len(reports), f"Redis is away and {self._spool.file} cannot be written: {error}")
            return
        self._spool_pending = True
        self._counts.add(spooled=len(reports))
        self._counts.drop(pushed_out, f"{self._spool.file} is full; the oldest reports went")

    def _deliver_spooled(self) -> None:
        """Deliver one slice, so that new reports get their turn in between."""
        try:
            with self._spool.drainer() as free:
                slice_ = self._spool.oldest(SLICE) if free else []
                if slice_ and self._reach([report for _, report in slice_], {}):
                    self._spool.remove([number for number, _ in slice_])
                    self._counts.add(sent=len(slice_))
                self._spool_pending = not free or len(slice_) == SLICE or self._backoff.waiting > 0
                self._look_at = monotonic() + (0.0 if free else RETRY)
        except OSError as error:
            self._look_at = monotonic() + 60 * RETRY
            log.warning("reports that wait in %s cannot be read now: %s", self._spool.file, error)
