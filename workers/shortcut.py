"""Takes reports in that come as Celery tasks, in the worker's main process: what has come while one batch was written is the next one.

A pool process would cost each report two pipes, two switches of process and a transaction of its own. Only what is plain takes this way;
whatever would be refused or cannot be taken in now goes to the pool, as any other task does, and is told there. As in the pool,
a message is acknowledged after everything is written; if this process dies before, it comes again and is known by its id.

A batch is two transactions, the reports and their results, and one or two messages of events, where the pool has two and three per report.
"""

import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from celery import Celery, Task, bootsteps
from celery.utils.log import get_logger
from celery.utils.saferepr import saferepr
from celery.worker.strategy import default

from recovery.models import JsonObject
from recovery.ports import Accepted
from workers.intake import ID_LENGTH, answer, proceed_all, take_in_many
from workers.streams import between_batches
from workers.wiring import platform

logger = get_logger(__name__)
traced = get_logger("celery.app.trace")
"""Where the pool tells of each task, too."""

BATCH = 100
"""Reports that are written together at most."""
GATHER = 0.01
"""Seconds that a report waits for company if it comes so soon after the last batch: writing is quicker than Celery's reading, and
one by one costs more. A report on a quiet day does not wait."""
CLOSED_FOR = 5.0
"""Seconds for which all reports go to the pool after a batch could not be taken in."""
PATIENCE = 5.0
"""Seconds that one of the two threads waits for the other."""
LOOK_EVERY = 0.1
"""Seconds after which a worker that stops looks whether anything is in hand yet: what goes to the pool is nothing to wait for."""
SWITCH = 0.0005
"""Seconds after which one thread makes way for another: by Python's default of 0.005 the consumer would wait so long at each answer
of its broker while reports are written."""

Waiting = tuple[Any, JsonObject]
"""Celery's request, and the report in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """Requests whose results are written."""

    answers: Sequence[tuple[Any, str]]
    seconds: float
    seen: threading.Event = field(default_factory=threading.Event)
    """Set when Celery knows."""


def strategy(task: Task, app: Celery, consumer: Any) -> Any:
    """Return what a worker does with each message of `task`: Celery's usual way, with a shortcut at its end."""
    shortcut = consumer.__dict__.setdefault("shortcut", Shortcut(task, consumer))  # it outlives a lost connection, as the consumer does
    return default(task, app, _Diverted(consumer, shortcut))


class _Diverted:
    """A consumer whose requests go through the shortcut, and whose events wait for company."""

    def __init__(self, consumer: Any, shortcut: "Shortcut") -> None:
        self._consumer = consumer
        self.on_task_request = shortcut.take
        self.event_dispatcher = consumer.event_dispatcher and _Patient(consumer.event_dispatcher)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


class _Patient:
    """A dispatcher whose events leave with the next ones that are in a hurry; Celery would send them in each turn of its loop.

    That tells of the end of the same requests; each event keeps its own moment.
    """

    def __init__(self, dispatcher: Any) -> None:
        self._dispatcher = dispatcher

    def send(self, kind: str, **fields: Any) -> None:
        """Leave an event in the buffer, which is sent when it is full."""
        hurry, self._dispatcher.on_send_buffered = self._dispatcher.on_send_buffered, None
        try:
            self._dispatcher.send(kind, **fields)
        finally:
            self._dispatcher.on_send_buffered = hurry

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dispatcher, name)


class Shortcut:
    """Collect requests in the thread of the consumer, take them in by another one, and end them in the first again.

    Args:
        task: whose requests these are.
        consumer: of the worker; without an event loop it has no thread to come back to, and everything goes to the pool.
    """

    def __init__(self, task: Task, consumer: Any) -> None:
        self._task = task
        self._consumer = consumer
        self._waiting: SimpleQueue[Waiting] = SimpleQueue()
        self._in_hand: set[Any] = set()
        self._ended: SimpleQueue[Ended] = SimpleQueue()
        self._diverted: SimpleQueue[Any] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed_until = 0.0

    def take(self, request: Any) -> None:
        """Take a request; called by the consumer."""
        if self._consumer.hub is None or time.monotonic() < self._closed_until or not _is_plain(request):
            self._to_pool(request)
            return
        if self._thread is None:
            sys.setswitchinterval(SWITCH)
            self._thread = threading.Thread(target=self._work, name="shortcut", daemon=True)
            self._thread.start()
        request.on_accepted(os.getpid(), time.monotonic())
        self._in_hand.add(request)
        self._waiting.put((request, {"id": request.id[:ID_LENGTH], **request.kwargs}))

    def finish(self, seconds: float = PATIENCE) -> None:
        """Wait until what is in hand is written, and acknowledge it at once; called by the consumer when its loop has ended."""
        deadline = time.monotonic() + seconds
        while self._in_hand and (left := deadline - time.monotonic()) > 0:
            try:
                self._end(self._ended.get(timeout=min(left, LOOK_EVERY)), at_once=True)
            except Empty:
                continue

    def turn(self) -> None:
        """End what is written, and give to the pool what it must deal with; called by the consumer's loop, and when that begins anew."""
        while not self._ended.empty():
            self._end(self._ended.get())
        while not self._diverted.empty():
            self._to_pool(self._diverted.get())

    def _to_pool(self, request: Any) -> None:
        request.eventer = self._consumer.event_dispatcher
        self._consumer.on_send_event_buffered()
        self._consumer.on_task_request(request)

    def _work(self) -> None:
        company_until = 0.0
        while True:
            batch = [self._waiting.get()]
            if time.monotonic() < company_until:
                time.sleep(GATHER)
            try:
                while len(batch) < BATCH:
                    batch.append(self._waiting.get_nowait())
            except Empty:
                pass
            self._take_in(batch)
            company_until = time.monotonic() + GATHER

    def _take_in(self, batch: Sequence[Waiting]) -> None:
        settled: set[str] = set()
        try:
            understands = platform().desk.understands
            settled = self._settle([one for one in batch if understands(one[1])])
        except Exception as error:  # noqa: BLE001 - whatever it is, the pool tells
            logger.info("%d reports go through the pool: %s", len(batch), error)
            self._closed_until = time.monotonic() + CLOSED_FOR
        for request, _ in batch:
            if request.id not in settled:
                self._diverted.put(request)
                self._in_hand.discard(request)
                self._consumer.hub.call_soon(self.turn)

    def _settle(self, batch: Sequence[Waiting]) -> set[str]:
        """Write the reports, start what follows, write the answers, let the consumer acknowledge; return whose messages are done."""
        if not batch:
            return set()
        began = time.monotonic()
        with between_batches:
            accepted = take_in_many([payload for _, payload in batch], "report")
        proceed_all(accepted)
        answers = [(request, answer(one)) for (request, _), one in zip(batch, accepted, strict=True) if isinstance(one, Accepted)]
        with between_batches:
            self._task.backend.put_successes([(request._context, said) for request, said in answers])  # noqa: SLF001 - as Celery's tracer does
        ended = Ended(tuple((request, saferepr(said)) for request, said in answers), time.monotonic() - began)
        self._ended.put(ended)
        self._consumer.hub.call_soon(self.turn)
        ended.seen.wait(PATIENCE)
        self._consumer.hub.call_soon(ended.seen.is_set)  # turns the loop once more: it leaves acknowledgements and events for its next turn
        return {request.id for request, _ in answers}

    def _end(self, ended: Ended, *, at_once: bool = False) -> None:
        """Tell Celery that these requests succeeded; that acknowledges their messages in the loop's next turn, or here if there is none."""
        try:
            for request, said in ended.answers:
                self._in_hand.discard(request)
                if at_once:
                    _acknowledge(request)
                request.on_success((False, said, ended.seconds))
                traced.info("Task %s[%s] succeeded in %ss: %s", request.name, request.id, ended.seconds, said)
        finally:
            self._consumer.on_send_event_buffered()
            ended.seen.set()


class ShortcutStep(bootsteps.StartStopStep):
    """Bring what is in hand to its end before a worker stops or connects anew."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, consumer: Any) -> None:
        """Go on with what was left over when the connection was lost."""
        if (shortcut := _of(consumer)) is not None:
            shortcut.turn()

    def stop(self, consumer: Any) -> None:
        """Acknowledge what is written, while there is a channel to do so."""
        if (shortcut := _of(consumer)) is not None:
            shortcut.finish()


def _of(consumer: Any) -> Shortcut | None:
    found: Shortcut | None = consumer.__dict__.get("shortcut")
    return found


def _acknowledge(request: Any) -> None:
    """Acknowledge now, whatever becomes of it: a message that comes again is known by its id."""
    try:
        request.message.ack_log_error(logger, request.connection_errors)
    except Exception as error:  # noqa: BLE001 - see above
        logger.info("the message of report %s comes again: %s", request.id, error)
    request.acknowledged = True


def _is_plain(request: Any) -> bool:
    """Say whether nothing about a request needs the pool; one that took down a process before might do so again."""
    positional, named, embedded = request._payload  # noqa: SLF001 - there is no public name for it
    again = request.delivery_info.get("redelivered") or request.request_dict.get("retries")
    return isinstance(named, dict) and not (positional or again or any((embedded or {}).values()) or any(request.time_limits))
