"""Drains the stream that `RecoveryClient` reports into: a thread in every worker that consumes the queue `failures`.

Redis key `recovery:reports`: a stream, one field per entry: `failure` (a JSON object) or `failures` (a JSON array of them);
consumer group `intake`, one consumer per worker. Entries are taken in by batches, a transaction each, and acknowledged and deleted
after the commit: each is taken in at least once, and the failure's id makes a second time harmless. One that came without an id has
that of its entry.
"""

import gc
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger
from redis import Redis
from redis.exceptions import RedisError, ResponseError

from recovery.errors import ConfigurationError, RecoveryError, StoreUnavailable
from recovery.models import JsonObject
from recovery.ports import Accepted

logger = get_logger(__name__)

STREAM, GROUP, FIELD, FIELD_OF_MANY = "recovery:reports", "intake", b"failure", b"failures"
BATCH = 500
"""Entries per read, and reports per transaction (an entry is never split). Larger ones are hardly faster, and hold the database's lock
for longer."""
BLOCK = 500
"""Milliseconds that one read waits for entries; also how soon the thread notices that it should stop."""
CLAIM_EVERY = 10.0
"""Seconds between two looks for entries that a dead worker left behind."""
CLAIM_IDLE = 30_000
"""Milliseconds that an entry must lie untouched before it is taken over."""
FORGET_IDLE = 3_600_000
"""Milliseconds of silence after which a consumer without entries is removed."""
COLLECT_AFTER = 50_000
"""New objects after which Python looks for garbage in circles while a drain runs. A batch makes half as many and leaves no circles;
by default every batch would be looked through a dozen times, with all of Celery in the end."""
BACK_OFF = (0.2, 5.0)
"""Seconds between tries while the database or Redis is away: the first, and the longest."""

Entry = tuple[bytes, dict[bytes, bytes] | None]
Found = tuple[JsonObject | str, str]
"""A report, or what is wrong with it; and the text that it came as, for a wrong one."""
Opened = tuple[bytes, list[Found]]
Answer = Accepted | RecoveryError

between_batches = threading.Lock()
os.register_at_fork(
    # a pool child forked in the middle of a transaction would inherit SQLite's locks held for ever
    before=between_batches.acquire,
    after_in_parent=between_batches.release,
    after_in_child=between_batches.release,
)


def keep(redis: Redis, failure: Mapping[str, object]) -> None:
    """Put a report into the stream, where it waits until it can be taken in."""
    redis.xadd(STREAM, {FIELD: json.dumps(failure, default=str)})


class Drain:
    """Take entries off the stream and hand them to the intake, a batch at a time.

    Args:
        redis: a client that raises at once when the server is away, and waits longer than `BLOCK` for an answer.
        consumer: name of this worker within the group.
        receive: commits a batch of reports and says what became of each; raises `StoreUnavailable` or `ConfigurationError`
            when all of it must be tried again, anything else when one of them cannot be taken in.
        refuse: notes entries that are no reports: what is wrong, and the entry as it was.
        proceed: starts what follows from the answers of `receive`; called after the entries were acknowledged.
    """

    def __init__(
        self,
        redis: Redis,
        consumer: str,
        receive: Callable[[Sequence[JsonObject]], Sequence[Answer]],
        refuse: Callable[[Sequence[tuple[str, str]]], None],
        proceed: Callable[[Sequence[Answer]], None] = lambda _answers: None,
    ) -> None:
        self._redis = redis
        self._consumer = consumer
        self._receive = receive
        self._refuse = refuse
        self._proceed = proceed
        self._claim_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Drain until `stop` is set; while the database or Redis is away, try again ever more slowly."""
        with _collecting_rarely():
            self._run(stop)

    def _run(self, stop: threading.Event) -> None:
        pause, longest = BACK_OFF
        while not stop.is_set():
            try:
                self._join()
                while self._take(self._read("0", block=None)):  # what this worker read and could not commit
                    pass
                pause = BACK_OFF[0]
                while not stop.is_set():
                    self.turn()
            except (StoreUnavailable, ConfigurationError, RedisError, OSError) as error:
                logger.warning("reports wait in the stream, next try in %.1f s: %s", pause, error)
                stop.wait(pause)
                pause = min(2 * pause, longest)
            except Exception:
                logger.exception("reports wait in the stream, next try in %.1f s", pause)  # a thread that ended would never try again
                stop.wait(pause)
                pause = min(2 * pause, longest)

    def turn(self) -> int:
        """Take in what is there, waiting up to `BLOCK` for it; return how many entries."""
        if time.monotonic() >= self._claim_at:
            self._claim_at = time.monotonic() + CLAIM_EVERY
            self._take_over()
        return self._take(self._read(">", block=BLOCK))

    def _join(self) -> None:
        try:
            self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    def _read(self, after: str, block: int | None) -> list[Entry]:
        answer: Any = self._redis.xreadgroup(GROUP, self._consumer, {STREAM: after}, count=BATCH, block=block)
        return [entry for _stream, entries in answer or () for entry in entries]

    def _take(self, entries: list[Entry]) -> int:
        """Take entries in, batch by batch; return how many."""
        return sum(self._take_batch(batch) for batch in _batches(entries))

    def _take_batch(self, entries: list[Opened]) -> int:
        """Take a batch in, acknowledge it, start what follows; return how many entries."""
        done: list[bytes] = []
        answers: list[Answer] = []
        try:
            with between_batches:
                self._take_in(entries, done, answers)
        finally:
            self._acknowledge(done)
        if answers:
            self._proceed(answers)
        return len(done)

    def _take_in(self, entries: list[Opened], done: list[bytes], answers: list[Answer]) -> None:
        """Commit the entries, filling in what is done and what came of it, also if it raises halfway."""
        found = [(entry_id, *one) for entry_id, reports in entries for one in reports]
        readable = [(entry_id, payload) for entry_id, payload, _ in found if isinstance(payload, dict)]
        garbage = [(payload, raw) for _, payload, raw in found if isinstance(payload, str)]
        if garbage:
            self._refuse(garbage)
        kept = {entry_id for entry_id, _ in readable}
        done.extend(entry_id for entry_id, _ in entries if entry_id not in kept)
        try:
            answers.extend(self._received([payload for _, payload in readable]))
            done.extend(kept)
        except (StoreUnavailable, ConfigurationError):
            raise  # with a database and a configuration they may be taken in later
        except Exception:
            logger.exception("a batch of %d reports could not be taken in as a whole, so each is tried by itself", len(readable))
            for entry_id, several in groupby(readable, lambda one: one[0]):
                for _, payload in several:
                    self._take_one(payload, answers)
                done.append(entry_id)

    def _received(self, payloads: Sequence[JsonObject]) -> Sequence[Answer]:
        answers = self._receive(payloads) if payloads else ()
        refused = [answer.message for answer in answers if isinstance(answer, RecoveryError)]
        if refused:
            logger.warning("refused %d of %d reports from the stream; the first: %s", len(refused), len(answers), refused[0])
        return answers

    def _take_one(self, payload: JsonObject, answers: list[Answer]) -> None:
        try:
            answers.extend(self._received([payload]))
        except (StoreUnavailable, ConfigurationError):
            raise
        except Exception as error:
            logger.exception("a report from the stream could not be taken in, it is in the audit trail")
            self._refuse([(f"{type(error).__name__}: {error}", json.dumps(payload))])

    def _acknowledge(self, done: list[bytes]) -> None:
        if done:
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.xack(STREAM, GROUP, *done)
                pipe.xdel(STREAM, *done)
                pipe.execute()

    def _take_over(self) -> None:
        """Claim what dead workers left, and forget workers that left nothing."""
        after = b""
        while after != b"0-0":
            answer: Any = self._redis.xautoclaim(STREAM, GROUP, self._consumer, CLAIM_IDLE, after or "0-0", count=BATCH)
            after = answer[0]
            self._take(answer[1])
        for consumer in self._redis.xinfo_consumers(STREAM, GROUP):
            if consumer["pending"] == 0 and consumer["idle"] > FORGET_IDLE:
                self._redis.xgroup_delconsumer(STREAM, GROUP, consumer["name"])


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _batches(entries: list[Entry]) -> Iterator[list[Opened]]:
    """Yield the entries opened, in batches of at most `BATCH` reports."""
    batch: list[Opened] = []
    reports = 0
    for entry_id, fields in entries:
        found = _reports_in(fields or {})  # no fields: it was deleted meanwhile
        for number, (payload, _) in enumerate(found):
            if isinstance(payload, dict):
                payload.setdefault("id", f"{entry_id.decode()}.{number}")
        if batch and reports + len(found) > BATCH:
            yield batch
            batch, reports = [], 0
        batch.append((entry_id, found))
        reports += len(found)
    if batch:
        yield batch


def _reports_in(fields: dict[bytes, bytes]) -> list[Found]:
    """Return every report in an entry, or what is wrong with it, and as which text it came."""
    if not fields:
        return []
    field = FIELD if FIELD in fields or FIELD_OF_MANY not in fields else FIELD_OF_MANY
    name, raw = field.decode(), fields.get(field, b"").decode(errors="replace")
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        return [(f"the field `{name}` is not JSON: {error}", raw)]
    if field == FIELD:
        return [(value, raw) if isinstance(value, dict) else (f"the field `{name}` is not a JSON object", raw)]
    if not isinstance(value, list):
        return [(f"the field `{name}` is not a JSON array", raw)]
    return [
        (one, "") if isinstance(one, dict) else (f"item {number} of `{name}` is not a JSON object", json.dumps(one))
        for number, one in enumerate(value, 1)
    ]


class ReportDrain(bootsteps.StartStopStep):
    """Run a `Drain` beside the consumer of the queue `failures`, in the worker's main process."""

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
        self._thread = threading.Thread(target=_drain, args=(f"{consumer.hostname}:{os.getpid()}", self._stop), name="reports", daemon=True)
        self._thread.start()

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop the thread after the batch it is at."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=BLOCK / 1000 + 5)
            self._thread = None

    shutdown = stop


def _drain(consumer: str, stop: threading.Event) -> None:
    from workers.intake import proceed_all, refuse, take_in_many
    from workers.wiring import platform

    Drain(platform().redis, consumer, lambda payloads: take_in_many(payloads, "stream"), refuse, proceed_all).run(stop)
