"""What the platform does for circuit breakers: keeps their history, and marks those whose service it recovers.

Redis key `recovery:breaker:history`: a stream that the breakers' own scripts write (its fields: `recovery/breaker/lua/circuit.lua`);
consumer group `history`, one consumer per worker. Entries go into the database and are acknowledged after the commit, so each
arrives at least once, and a second time finds its row. The stream keeps its newest entries, for whoever else reads it.
"""

import os
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from recovery.breaker.shared import BREAKER_HISTORY
from recovery.errors import ConfigurationError, StoreUnavailable
from recovery.models import BreakerChange, RecoveryState
from recovery.ports import BreakerHistory, Breakers, Store

logger = get_logger(__name__)

GROUP = "history"
BATCH = 100
"""Entries per read, and per transaction."""
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
MARK = 15.0
"""Seconds for which a breaker is marked as under recovery; the tick of every second renews it."""

Entry = tuple[bytes, dict[bytes, bytes] | None]

_between_batches = threading.Lock()
os.register_at_fork(  # as in `reports.py`
    before=_between_batches.acquire,
    after_in_parent=_between_batches.release,
    after_in_child=_between_batches.release,
)


class CircuitHistory:
    """Takes entries off the stream and stores them, a batch at a time.

    Args:
        redis: a client that raises at once when the server is away, and waits longer than `BLOCK` for an answer.
        store: where they go.
        consumer: name of this worker within the group.
    """

    def __init__(self, redis: Redis, store: BreakerHistory, consumer: str) -> None:
        self._redis = redis
        self._store = store
        self._consumer = consumer
        self._claim_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Drain until `stop` is set; while the database or Redis is away, try again ever more slowly."""
        pause, longest = BACK_OFF
        while not stop.is_set():
            try:
                self.join()
                while self._take(self._read("0", block=None)):  # what this worker read and could not commit
                    pass
                pause = BACK_OFF[0]
                while not stop.is_set():
                    self.turn()
            except (StoreUnavailable, ConfigurationError, RedisError, OSError) as error:
                logger.warning("the history of breakers waits in the stream, next try in %.1f s: %s", pause, error)
            except Exception:
                logger.exception("the history of breakers waits in the stream, next try in %.1f s", pause)
            stop.wait(pause)
            pause = min(2 * pause, longest)

    def join(self) -> None:
        """Join the group, which is made with the first worker."""
        try:
            self._redis.xgroup_create(BREAKER_HISTORY, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def turn(self) -> int:
        """Store what is there, waiting up to `BLOCK` for it; return how many entries."""
        if time.monotonic() >= self._claim_at:
            self._claim_at = time.monotonic() + CLAIM_EVERY
            self._take_over()
        return self._take(self._read(">", block=BLOCK))

    def _read(self, after: str, block: int | None) -> list[Entry]:
        answer: Any = self._redis.xreadgroup(GROUP, self._consumer, {BREAKER_HISTORY: after}, count=BATCH, block=block)
        return [entry for _stream, entries in answer or () for entry in entries]

    def _take(self, entries: list[Entry]) -> int:
        changes = [change for entry_id, fields in entries if fields and (change := change_of(entry_id, fields)) is not None]
        with _between_batches:
            self._record(changes)
        if entries:
            self._redis.xack(BREAKER_HISTORY, GROUP, *(entry_id for entry_id, _ in entries))
        return len(entries)

    def _record(self, changes: list[BreakerChange]) -> None:
        try:
            self._store.record_changes(changes)
        except (StoreUnavailable, ConfigurationError):
            raise  # with a database they may be stored later
        except Exception:
            logger.exception("%d changes of breakers could not be stored as a whole, so each is tried by itself", len(changes))
            for change in changes:
                self._record_one(change)

    def _record_one(self, change: BreakerChange) -> None:
        try:
            self._store.record_changes([change])
        except (StoreUnavailable, ConfigurationError):
            raise
        except Exception:
            logger.exception("a change of breaker '%s' cannot be stored and is left out: %r", change.breaker, change)

    def _take_over(self) -> None:
        """Claim what dead workers left, and forget workers that left nothing."""
        after = b""
        while after != b"0-0":
            answer: Any = self._redis.xautoclaim(BREAKER_HISTORY, GROUP, self._consumer, CLAIM_IDLE, after or "0-0", count=BATCH)
            after = answer[0]
            self._take(answer[1])
        for consumer in self._redis.xinfo_consumers(BREAKER_HISTORY, GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > FORGET_IDLE:
                self._redis.xgroup_delconsumer(BREAKER_HISTORY, GROUP, consumer["name"])


def change_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> BreakerChange | None:
    """Return the change that an entry tells of; None, and a line in the log, if it is no such entry."""
    told = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    try:
        return BreakerChange(
            stream_id=entry_id.decode(),
            breaker=told["name"][:100],
            service=told["service"][:100] or told["name"][:100],
            at=datetime.fromtimestamp(int(told["at"]) / 1000, UTC),
            before=told["from"][:32],
            after=told["to"][:32],
            reason=told["reason"],
            trips=int(told["trips"]),
            streak=int(told["streak"]),
            by=told["by"],
        )
    except (KeyError, ValueError, OverflowError, OSError) as error:
        logger.warning("entry %r of %s tells of no change of a breaker: %r", entry_id, BREAKER_HISTORY, error)
        return None


def mark_repairs(breakers: Breakers, store: Store) -> list[str]:
    """Mark the open breakers of services whose recovery is in progress, take the mark from all others; return who bears it.

    Raises `StoreUnavailable` if Redis or the database is away; the marks then pass by themselves.
    """
    recovered = {each.service for each in store.open_recoveries() if each.state is RecoveryState.IN_PROGRESS}
    return breakers.repair(recovered, MARK)


class CircuitHistoryDrain(bootsteps.StartStopStep):
    """Run a `CircuitHistory` beside the consumer of the queue `failures`, in the worker's main process."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        """Start the thread, unless this worker leaves failures to others."""
        if "failures" not in consumer.app.amqp.queues.consume_from:
            return
        self._stop = threading.Event()
        name = f"{consumer.hostname}:{os.getpid()}"
        self._thread = threading.Thread(target=_drain, args=(name, self._stop), name="circuits", daemon=True)
        self._thread.start()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop the thread after the batch it is at."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=BLOCK / 1000 + 5)
            self._thread = None

    shutdown = stop


def _drain(consumer: str, stop: threading.Event) -> None:
    from workers.wiring import platform

    CircuitHistory(platform().redis, platform().store, consumer).run(stop)
