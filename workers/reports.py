"""Drains the stream that `RecoveryClient` reports into: a thread in every worker that consumes the queue `failures`.

Redis key `recovery:reports`: a stream, one field per entry: `failure` (a JSON object) or `failures` (a JSON array of them);
consumer group `intake`, one consumer per worker. Entries are taken in by batches, a transaction each, and acknowledged and deleted
after the commit: each is taken in at least once, and the failure's id makes a second time harmless. One that came without an id has
that of its entry.
"""

import gc
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby

from celery.utils.log import get_logger
from redis import Redis

from recovery.errors import ConfigurationError, RecoveryError, StoreUnavailable
from recovery.models import JsonObject
from recovery.ports import Accepted
from workers.streams import DrainStep, Entry, StreamDrain, between_batches

logger = get_logger(__name__)

STREAM, GROUP, FIELD, FIELD_OF_MANY = "recovery:reports", "intake", b"failure", b"failures"
BATCH = 500
"""Entries per read, and reports per transaction (an entry is never split). Larger ones are hardly faster, and hold the database's lock
for longer."""
COLLECT_AFTER = 50_000
"""New objects after which Python looks for garbage in circles while a drain runs. A batch makes half as many and leaves no circles;
by default every batch would be looked through a dozen times, with all of Celery in the end."""

Found = tuple[JsonObject | str, str]
"""A report, or what is wrong with it; and the text that it came as, for a wrong one."""
Opened = tuple[bytes, list[Found]]
Answer = Accepted | RecoveryError


def keep(redis: Redis, failure: Mapping[str, object]) -> None:
    """Put a report into the stream, where it waits until it can be taken in."""
    redis.xadd(STREAM, {FIELD: json.dumps(failure, default=str)})


class Drain(StreamDrain):
    """Take entries off the stream and hand them to the intake, a batch at a time.

    Args:
        redis: as `StreamDrain` wants it.
        consumer: name of this worker within the group.
        receive: commits a batch of reports and says what became of each; raises `StoreUnavailable` or `ConfigurationError`
            when all of it must be tried again, anything else when one of them cannot be taken in.
        refuse: notes entries that are no reports: what is wrong, and the entry as it was.
        proceed: starts what follows from the answers of `receive`; called after the entries were acknowledged.
    """

    stream, group, batch, what = STREAM, GROUP, BATCH, "reports"

    def __init__(
        self,
        redis: Redis,
        consumer: str,
        receive: Callable[[Sequence[JsonObject]], Sequence[Answer]],
        refuse: Callable[[Sequence[tuple[str, str]]], None],
        proceed: Callable[[Sequence[Answer]], None] = lambda _answers: None,
    ) -> None:
        super().__init__(redis, consumer)
        self._receive = receive
        self._refuse = refuse
        self._proceed = proceed

    def run(self, stop: threading.Event) -> None:
        """Drain until `stop` is set; while the database or Redis is away, try again ever more slowly."""
        with _collecting_rarely():
            super().run(stop)

    def take(self, entries: list[Entry]) -> int:
        """Take entries in, batch by batch; return how many."""
        return sum(self._take_batch(batch) for batch in _batches(entries, self.batch))

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


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_AFTER, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _batches(entries: list[Entry], most: int) -> Iterator[list[Opened]]:
    """Yield the entries opened, in batches of at most so many reports."""
    batch: list[Opened] = []
    reports = 0
    for entry_id, fields in entries:
        found = _reports_in(fields or {})  # no fields: it was deleted meanwhile
        for number, (payload, _) in enumerate(found):
            if isinstance(payload, dict):
                payload.setdefault("id", f"{entry_id.decode()}.{number}")
        if batch and reports + len(found) > most:
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


class ReportDrain(DrainStep):
    """Run a `Drain` in every worker that consumes the queue `failures`."""

    def drain(self, consumer: str) -> StreamDrain:
        """Return the drain over the platform's intake."""
        from workers.intake import proceed_all, refuse, take_in_many
        from workers.wiring import platform

        return Drain(platform().redis, consumer, lambda payloads: take_in_many(payloads, "stream"), refuse, proceed_all)
