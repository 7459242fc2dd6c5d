"""Carries reports into the stream `recovery:reports`, or to disk while Redis is away, and from there into the stream later.

An entry holds one report (field `failure`, a JSON object) or several (field `failures`, a JSON array of them): an entry each would
cost more than everything else that is done for a report.

A write that timed out may have arrived all the same: it is sent again, and the intake knows it by its id.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic
from typing import TYPE_CHECKING

from recovery.client.connection import Backoff, connect
from recovery.client.counts import Counts
from recovery.client.redaction import redact
from recovery.client.spool import Spool

if TYPE_CHECKING:
    from redis import Redis

STREAM = "recovery:reports"
FIELD, FIELD_OF_MANY = "failure", "failures"
ENTRY_REPORTS, ENTRY_BYTES = 64, 65_536
"""What one entry holds at most; a report that is longer has an entry of its own."""
STREAM_LENGTH = 100_000
"""The stream keeps about this many entries when nobody drains it; the oldest go first."""
STREAM_BYTES = 256 * 1024 * 1024
"""And about this much of Redis's memory, because entries differ in size by a factor of a thousand."""
WEIGH_EVERY = 1.0
"""Seconds between looks at how much memory the stream takes, while reports are sent."""
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
        self._weigh_at = 0.0

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
            self._redis = None

    def _reach(self, reports: Sequence[bytes], beats: Mapping[str, float]) -> bool:
        from redis.exceptions import RedisError

        try:
            self._redis = self._redis or connect(self._url)
            with self._redis.pipeline(transaction=False) as pipeline:
                for field, value in entries(reports):
                    pipeline.xadd(STREAM, {field: value}, maxlen=STREAM_LENGTH, approximate=True)
                for service, at in beats.items():
                    pipeline.set(HEARTBEAT + service, f"{at:.3f}")
                if reports or beats:
                    pipeline.execute()
                else:
                    self._redis.ping()
            if reports and monotonic() >= self._weigh_at:
                self._weigh_at = monotonic() + WEIGH_EVERY
                self._bound(self._redis)
        except (RedisError, OSError) as error:
            self.close()  # what was the primary may live on as a copy; the next connection goes to where the name leads then
            if self._backoff.failed():
                log.warning(
                    "Redis at %s does not answer (%s); failure reports wait in %s", redact(self._url), redact(str(error)), self._spool.file
                )
            return False
        if self._backoff.succeeded():
            log.warning("Redis at %s answers again", redact(self._url))
        return True

    def _bound(self, redis: "Redis") -> None:
        """Let the oldest entries go if the stream takes too much memory."""
        from redis.exceptions import ResponseError

        try:
            taken = redis.memory_usage(STREAM)
            if taken and taken > STREAM_BYTES:
                gone = redis.xtrim(STREAM, maxlen=int(redis.xlen(STREAM) * STREAM_BYTES / taken), approximate=True)
                log.error("nobody takes in the failure reports in Redis: the oldest %d entries went, to bound its memory", gone)
        except ResponseError:  # a user of Redis that may not ask; the number of entries still bounds it
            self._weigh_at = math.inf

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


def entries(reports: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    """Yield field and value of each entry that carries the reports, in their order."""
    together: list[bytes] = []
    size = 0
    for report in reports:
        if together and (len(together) == ENTRY_REPORTS or size + len(report) > ENTRY_BYTES):
            yield _entry(together)
            together, size = [], 0
        together.append(report)
        size += len(report)
    if together:
        yield _entry(together)


def _entry(reports: Sequence[bytes]) -> tuple[str, bytes]:
    return (FIELD, reports[0]) if len(reports) == 1 else (FIELD_OF_MANY, b"[" + b",".join(reports) + b"]")
