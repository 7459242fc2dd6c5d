"""Drains streams of Redis into the database: one consumer per worker in a consumer group, as a thread of its main process.

Entries are read in batches and acknowledged after what became of them was committed: each arrives at least once. Who takes entries in
must know one that comes a second time.
"""

import os
import threading
import time
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from celery import bootsteps
from celery.utils.log import get_logger
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from recovery.errors import ConfigurationError, StoreUnavailable

logger = get_logger(__name__)

BLOCK = 500
"""Milliseconds that one read waits for entries; also how soon the thread notices that it should stop."""
CLAIM_EVERY = 10.0
"""Seconds between two looks for entries that a dead worker left behind."""
CLAIM_IDLE = 30_000
"""Milliseconds that an entry must lie untouched before it is taken over."""
FORGET_IDLE = 3_600_000
"""Milliseconds of silence after which a consumer without entries is removed."""
BACK_OFF = (0.2, 5.0)
"""Seconds between tries while the database or Redis is away: the first, and the longest."""

Entry = tuple[bytes, dict[bytes, bytes] | None]
"""Its id and its fields; None: it was deleted meanwhile."""

between_batches = threading.Lock()
os.register_at_fork(
    # a pool child forked in the middle of a transaction would inherit SQLite's locks held for ever
    before=between_batches.acquire,
    after_in_parent=between_batches.release,
    after_in_child=between_batches.release,
)


class StreamDrain(ABC):
    """Takes entries off a stream, a batch at a time. Whatever writes holds `between_batches` meanwhile.

    Args:
        redis: a client that raises at once when the server is away, and waits longer than `BLOCK` for an answer.
        consumer: name of this worker within the group.
    """

    stream: ClassVar[str]
    group: ClassVar[str]
    batch: ClassVar[int]
    """Entries per read."""
    what: ClassVar[str]
    """What the stream holds, for the log."""

    def __init__(self, redis: Redis, consumer: str) -> None:
        self._redis = redis
        self._consumer = consumer
        self._claim_at = 0.0

    @abstractmethod
    def take(self, entries: list[Entry]) -> int:
        """Commit what entries say and acknowledge them; return how many. Raises `StoreUnavailable` if they must wait."""

    def run(self, stop: threading.Event) -> None:
        """Drain until `stop` is set; while the database or Redis is away, try again ever more slowly."""
        pause, longest = BACK_OFF
        while not stop.is_set():
            try:
                self.join()
                while self.take(self.read("0", block=None)):  # what this worker read and could not commit
                    pass
                pause = BACK_OFF[0]
                while not stop.is_set():
                    self.turn()
            except Exception as error:  # noqa: BLE001 - a thread that ended would never try again
                expected = isinstance(error, StoreUnavailable | ConfigurationError | RedisError | OSError)
                log = logger.warning if expected else logger.exception
                log("%s: the stream keeps them, next try in %.1f s: %s", self.what, pause, error)
                stop.wait(pause)
                pause = min(2 * pause, longest)

    def join(self) -> None:
        """Join the group, which is made with the first worker."""
        try:
            self._redis.xgroup_create(self.stream, self.group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def turn(self) -> int:
        """Take in what is there, waiting up to `BLOCK` for it; return how many entries."""
        if time.monotonic() >= self._claim_at:
            self._claim_at = time.monotonic() + CLAIM_EVERY
            self._take_over()
        return self.take(self.read(">", block=BLOCK))

    def read(self, after: str, block: int | None) -> list[Entry]:
        """Return the next entries: new ones after `>`, those that this worker has not acknowledged after `0`."""
        answer: Any = self._redis.xreadgroup(self.group, self._consumer, {self.stream: after}, count=self.batch, block=block)
        return [entry for _stream, entries in answer or () for entry in entries]

    def _take_over(self) -> None:
        """Claim what dead workers left, and forget workers that left nothing."""
        after = b""
        while after != b"0-0":
            answer: Any = self._redis.xautoclaim(self.stream, self.group, self._consumer, CLAIM_IDLE, after or "0-0", count=self.batch)
            after = answer[0]
            self.take(answer[1])
        for consumer in self._redis.xinfo_consumers(self.stream, self.group):
            if consumer["pending"] == 0 and consumer["idle"] > FORGET_IDLE:
                self._redis.xgroup_delconsumer(self.stream, self.group, consumer["name"])


class DrainStep(bootsteps.StartStopStep):
    """Run a drain beside the consumer of the queue `failures`, in the worker's main process."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(consumer, **kwargs)

    def drain(self, consumer: str) -> StreamDrain:
        """Return the drain; called in its thread.

        Args:
            consumer: name of this worker within the group.
        """
        raise NotImplementedError

    def start(self, consumer: Any) -> None:
        """Start the thread, unless this worker leaves failures to others."""
        if "failures" not in consumer.app.amqp.queues.consume_from:
            return
        self._stop = stop = threading.Event()
        name = f"{consumer.hostname}:{os.getpid()}"
        self._thread = threading.Thread(target=lambda: self.drain(name).run(stop), name=type(self).__name__, daemon=True)
        self._thread.start()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop the thread after the batch it is at."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=BLOCK / 1000 + 5)
            self._thread = None

    shutdown = stop
