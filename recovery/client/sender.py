"""The bounded queue and the one thread between callers and the network: a caller hands over and goes on."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic

from recovery.client.counts import Counts, Stats
from recovery.client.delivery import SLICE, Delivery
from recovery.client.draft import Draft, encode
from recovery.client.redaction import redact
from recovery.client.spool import Spool

CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life of one service."""

    service: str
    at: float
    """Seconds since the epoch."""


class Sender:
    """Carries what it is given to Redis, in batches; its thread starts with the first item.

    Args:
        url: Where Redis is.
        spool_folder: Where reports wait while it is away.
        capacity: How many items may wait in memory; one more is dropped and counted. Default 10,000.
    """

    def __init__(self, url: str, spool_folder: Path, capacity: int = CAPACITY) -> None:
        self._url = url
        self._capacity = capacity
        self._spool = Spool(spool_folder, url)
        self._closed = False
        self.renew()
        if self._delivery.pending:  # an earlier process left reports behind
            self._start()

    def renew(self) -> None:
        """Begin anew in a forked child: what waits is the parent's to send."""
        self.counts = Counts()
        self._items: SimpleQueue[Draft | Beat | None] = SimpleQueue()
        self._starting = Lock()
        self._thread: Thread | None = None
        self._delivery = Delivery(self._url, self._spool, self.counts)
        self._in_hand: list[Draft | Beat] = []

    def put(self, item: Draft | Beat) -> None:
        """Hand over one item; never waits, drops it if `capacity` items wait already or the sender is closed."""
        if self._closed or self._items.qsize() >= self._capacity:
            if isinstance(item, Draft):
                self.counts.drop(1, "the client is closed" if self._closed else f"{self._capacity} reports wait already")
            return
        self._items.put(item)
        if self._thread is None:
            self._start()

    def stats(self) -> Stats:
        """Return the counts so far."""
        return replace(self.counts.stats, queued=self._items.qsize() + len(self._in_hand))

    def close(self, timeout: float = 1.0) -> None:
        """Deliver what waits, or keep it on disk, for at most `timeout` seconds.

        The thread has the first half of the time. What it holds then is also kept by the caller: reported twice is harmless,
        lost is not.
        """
        deadline = monotonic() + timeout
        with self._starting:
            already, self._closed = self._closed, True
        if already or self._thread is None:
            return
        self._items.put(None)
        self._thread.join(timeout / 2)
        if self._thread.is_alive():
            self._keep_what_is_left(deadline)
            self._items.put(None)

    def _keep_what_is_left(self, deadline: float) -> None:
        batch = list(self._in_hand)
        while batch:
            self._delivery.keep(self._encode([item for item in batch if isinstance(item, Draft)]))
            batch = self._take_waiting()
            if monotonic() >= deadline:
                break
        self.counts.drop(len(batch) + self._items.qsize(), "the process ended before they could be sent or kept")

    def _take_waiting(self) -> list[Draft | Beat]:
        batch: list[Draft | Beat] = []
        with suppress(Empty):
            while len(batch) < SLICE:
                item = self._items.get_nowait()
                if item is not None:
                    batch.append(item)
        return batch

    def _start(self) -> None:
        with self._starting:
            if self._thread is None and not self._closed:
                self._thread = Thread(target=self._run, name="recovery-reports", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        last = False
        while not last:
            batch, last = self._next_batch()
            reports = self._encode([item for item in batch if isinstance(item, Draft)])
            beats = {item.service: item.at for item in batch if isinstance(item, Beat)}
            try:
                self._delivery.carry(reports, beats)
            except Exception as error:  # noqa: BLE001 - this thread must outlive whatever one batch does to it
                self.counts.drop(len(reports), f"{type(error).__name__}: {redact(str(error))}")
            self._in_hand = []
        self._delivery.close()

    def _next_batch(self) -> tuple[list[Draft | Beat], bool]:
        """Wait for work or the next look at the spool; returns the work, and whether it is the last."""
        batch = self._in_hand = []
        with suppress(Empty):
            item = self._items.get(timeout=self._delivery.next_try())
            while item is not None:
                batch.append(item)
                if len(batch) == SLICE:
                    return batch, False
                item = self._items.get_nowait()
            return batch, True
        return batch, False

    def _encode(self, drafts: Sequence[Draft]) -> list[bytes]:
        reports = []
        for draft in drafts:
            try:
                reports.append(encode(draft))
            except Exception as error:  # noqa: BLE001 - one report that cannot be encoded must not stop the others
                self.counts.drop(1, f"report {draft.id} could not be made into a message: {type(error).__name__}")
        return reports
