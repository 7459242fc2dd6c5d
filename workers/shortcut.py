"""Takes reports in that come as Celery tasks, in the worker's main process: what has come while one batch was written is the next one.

A pool process would cost each report two pipes, two switches of process and a transaction of its own. Only what is plain takes this way;
whatever would be refused or cannot be taken in now goes to the pool, as any other task does, and is told there. As in the pool,
a message is acknowledged after everything is written; if this process dies before, it comes again and is known by its id.
"""

import os
import sys
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from celery import Celery, Task
from celery.utils.log import get_logger
from celery.utils.saferepr import saferepr
from celery.worker.strategy import default

from recovery.models import JsonObject
from recovery.ports import Accepted
from workers.intake import ID_LENGTH, answer, proceed_all, take_in_many
from workers.reports import between_batches
from workers.wiring import platform

logger = get_logger(__name__)
traced = get_logger("celery.app.trace")
"""Where the pool tells of each task, too."""

BATCH = 100
"""Reports that are written together at most."""
CLOSED_FOR = 5.0
"""Seconds for which all reports go to the pool after a batch could not be taken in."""
PATIENCE = 5.0
"""Seconds to wait for the consumer's thread."""
SWITCH = 0.0005
"""Seconds after which one thread makes way for another: by Python's default of 0.005 the consumer would wait so long at each answer
of its broker while reports are written."""

Waiting = tuple[Any, JsonObject]
"""Celery's request, and the report in it."""


def strategy(task: Task, app: Celery, consumer: Any) -> Any:
    """Return what a worker does with each message of `task`: Celery's usual way, with a shortcut at its end."""
    shortcut = consumer.__dict__.setdefault("shortcut", Shortcut(task, consumer))  # it outlives a lost connection, as the consumer does
    return default(task, app, _Diverted(consumer, shortcut))


class _Diverted:
    """A consumer whose requests go through the shortcut."""

    def __init__(self, consumer: Any, shortcut: "Shortcut") -> None:
        self._consumer = consumer
        self.on_task_request = shortcut.take

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


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
        self._waiting.put((request, {"id": request.id[:ID_LENGTH], **request.kwargs}))

    def _to_pool(self, request: Any) -> None:
        self._consumer.on_task_request(request)

    def _work(self) -> None:
        while True:
            batch = [self._waiting.get()]
            try:
                while len(batch) < BATCH:
                    batch.append(self._waiting.get_nowait())
            except Empty:
                pass
            self._take_in(batch)

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
                self._consumer.hub.call_soon(self._to_pool, request)

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
            for request, said in answers:
                self._task.backend.mark_as_done(request.id, said, request=request._context)  # noqa: SLF001 - as Celery's own tracer does
        self._end([(request, saferepr(said)) for request, said in answers], time.monotonic() - began)
        return {request.id for request, _ in answers}

    def _end(self, answers: Sequence[tuple[Any, str]], seconds: float) -> None:
        """Let the consumer's thread end and acknowledge the requests, and wait for it."""
        ended = threading.Event()

        def end() -> None:
            try:
                for request, said in answers:
                    request.on_success((False, said, seconds))
                    traced.info("Task %s[%s] succeeded in %ss: %s", request.name, request.id, seconds, said)
            finally:
                ended.set()

        self._consumer.hub.call_soon(end)
        ended.wait(PATIENCE)
        self._consumer.hub.call_soon(ended.is_set)  # turns the loop once more: `end` left the acknowledgements for its next turn


def _is_plain(request: Any) -> bool:
    """Say whether nothing about a request needs the pool; one that took down a process before might do so again."""
    positional, named, embedded = request._payload  # noqa: SLF001 - there is no public name for it
    again = request.delivery_info.get("redelivered") or request.request_dict.get("retries")
    return isinstance(named, dict) and not (positional or again or any((embedded or {}).values()) or any(request.time_limits))
