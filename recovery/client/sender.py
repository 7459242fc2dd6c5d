"""The bounded queue and the one thread between callers and the network: a caller hands over and goes on."""

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from time import monotonic

from recovery.client.counts import Counts, Stats
from recovery.client.delivery import SLICE, Delivery
from recovery.client.draft import Beat, Draft, encode
from recovery.client.redaction import redact
from recovery.client.spool import Spool

CAPACITY = 10_000
LINGER = 0.02
"""Seconds that the thread waits for more before it sleeps: to wake a sleeping one costs the caller more than all the rest."""


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
        self._items: deque[Draft | Beat] = deque()
        self._starting = Lock()
        self._thread: Thread | None = None
        self._delivery = Delivery(self._url, self._spool, self.counts)
        self._in_hand: list[Draft | Beat] = []
        self._asleep = True
        self._bell = Lock()
        self._bell.acquire()  # free only while it rings; unlike an Event it can be rung in a signal handler, too

    def put(self, item: Draft | Beat) -> None:
        """Hand over one item; never waits, drops it if `capacity` items wait already or the sender is closed."""
        if self._closed or len(self._items) >= self._capacity:
            if isinstance(item, Draft):
                self.counts.drop(1, "the client is closed" if self._closed else f"{self._capacity} reports wait already")
            return
        self._items.append(item)
        if self._asleep:  # looked at after the item is there; the thread looks at the items after it has said this
            self._wake()

    def stats(self) -> Stats:
        """Return the counts so far."""
        return self.counts.stats._replace(queued=len(self._items) + len(self._in_hand))

    def close(self, timeout: float = 1.0) -> None:
        """Deliver what waits, or keep it on disk, for at most `timeout` seconds.

        The thread has the first half of the time. What it holds then is also kept by the caller: reported twice is harmless,
        lost is not.
        """
        deadline = monotonic() + timeout
        already, self._closed = self._closed, True
        if already:
            return
        if self._starting.acquire(timeout=timeout / 4):  # a thread that just begins is waited for
            self._starting.release()
        if self._thread is not None:
            self._ring()
            self._thread.join(timeout / 2)
        if self._thread is None or self._thread.is_alive():
            self._keep_what_is_left(deadline)

    def _keep_what_is_left(self, deadline: float) -> None:
        batch = list(self._in_hand) or self._take_waiting([])
        while batch:
            self._delivery.keep(self._encode(batch))
            batch = self._take_waiting([])
            if monotonic() >= deadline:
                break
        self.counts.drop(len(batch) + len(self._items), "the process ended before they could be sent or kept")

    def _wake(self) -> None:
        if self._thread is None:
            self._start()
        self._ring()

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._bell.release()

    def _start(self) -> None:
        if not self._starting.acquire(blocking=False):
            return  # somebody does; a signal handler that waited here would wait for the caller it interrupted
        try:
            if self._thread is None and not self._closed:
                thread = Thread(target=self._run, name="recovery-reports", daemon=True)
                with suppress(RuntimeError):  # no thread to be had: the next item tries again, and the end keeps what waits
                    thread.start()
                    self._thread = thread
        finally:
            self._starting.release()

    # --- the thread ---

    def _run(self) -> None:
        self._asleep = False
        while True:
            last = self._closed  # looked at before the items: what was handed over before the end is in this batch or a later one
            self._in_hand = []
            batch = self._take_waiting(self._in_hand)
            if batch or self._delivery.pending:
                self._carry(batch)
            self._in_hand = []
            if last and not batch:
                break
            if len(batch) < SLICE and not last:
                self._rest()
        self._delivery.close()

    def _carry(self, batch: Sequence[Draft | Beat]) -> None:
        reports = self._encode(batch)
        beats = {item.service: item.at for item in batch if isinstance(item, Beat)}
        try:
            self._delivery.carry(reports, beats)
        except Exception as error:  # noqa: BLE001 - this thread must outlive whatever one batch does to it
            self.counts.drop(len(reports), f"{type(error).__name__}: {redact(str(error))}")

    def _rest(self) -> None:
        """Wait for work or the next look at the spool; first for a moment in which nobody need ring."""
        if self._delivery.next_try() != 0.0:
            self._bell.acquire(timeout=LINGER)
        if self._items or self._closed:
            return
        self._asleep = True
        wait = self._delivery.next_try()
        if not self._items and not self._closed:
            self._bell.acquire(timeout=-1 if wait is None else wait)
        self._asleep = False

    def _take_waiting(self, batch: list[Draft | Beat]) -> list[Draft | Beat]:
        with suppress(IndexError):
            while len(batch) < SLICE:
                batch.append(self._items.popleft())
        return batch

    def _encode(self, items: Sequence[Draft | Beat]) -> list[bytes]:
        reports = []
        for item in items:
            if isinstance(item, Draft):
                try:
                    reports.append(encode(item))
                except Exception as error:  # noqa: BLE001 - one report that cannot be encoded must not stop the others
                    self.counts.drop(1, f"report {item.id} could not be made into a message: {type(error).__name__}")
        return reports
