"""Reports failures as a client does, through the stream; only what Redis has on its disk counts as reported."""

import contextlib
import json
import queue
import threading
from datetime import UTC, datetime
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError, ResponseError

from recovery.store.connect import connect
from workers.reports import FIELD, STREAM

AGAIN = 0.3
"""Seconds until a report that was not acknowledged is sent again, under the same id."""
ON_DISK = 1_500
"""Milliseconds that Redis may take to write it down."""


class Mail:
    """A thread that sends reports until they are acknowledged.

    Args:
        url: of Redis.
        twice: send every report a second time, as a client does that lost the answer.
    """

    def __init__(self, url: str, *, twice: bool = True) -> None:
        self.delivered: dict[str, str] = {}
        """Failure id -> service, of all reports that Redis has written down."""
        self._redis: Redis = connect(url)
        self._twice = twice
        self._waiting: queue.Queue[dict[str, str]] = queue.Queue()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mail", daemon=True)
        self._thread.start()

    def report(self, service: str) -> None:
        """Report that `service` is ill; returns at once."""
        facts = {"id": str(uuid4()), "service": service, "category": "service_unavailable", "message": "it is ill", "source": "torture"}
        self._waiting.put({**facts, "occurred_at": datetime.now(UTC).isoformat()})

    @property
    def waiting(self) -> int:
        """How many reports are not acknowledged yet."""
        return self._waiting.unfinished_tasks

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(10)
        self._redis.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            batch = self._batch()
            while batch and not self._sent(batch) and not self._stop.wait(AGAIN):
                pass
            for _ in batch:
                self._waiting.task_done()

    def _batch(self) -> list[dict[str, str]]:
        """Return what waits, nothing after a moment without any."""
        batch: list[dict[str, str]] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._waiting.get(timeout=0.1))
            while True:
                batch.append(self._waiting.get_nowait())
        return batch

    def _sent(self, batch: list[dict[str, str]]) -> bool:
        try:
            for failure in batch:
                for _ in range(1 + self._twice):
                    self._redis.xadd(STREAM, {FIELD: json.dumps(failure)})
            if not self._on_disk():
                return False
        except (RedisError, OSError):
            return False
        self.delivered |= {failure["id"]: failure["service"] for failure in batch}
        return True

    def _on_disk(self) -> bool:
        """Wait until everything sent before is in the server's file; a server without one, or too old to say, counts as safe."""
        try:
            local, _replicas = self._redis.waitaof(1, 0, ON_DISK)
        except ResponseError:
            return True
        return bool(local)
