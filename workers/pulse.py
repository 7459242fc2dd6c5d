"""A sign of life from every worker, whoever started it: a thread of its main process notes it in the database."""

import os
import threading
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from celery import bootsteps
from celery.utils.log import get_logger

from recovery.errors import RecoveryError
from recovery.models import JsonObject
from recovery.watch import Watch
from recovery.watch.signs import WORKER_EVERY

logger = get_logger(__name__)

LAST_WORD = 3.0
"""Seconds that a worker which ends waits for its last pulse to be written."""

_between_pulses = threading.Lock()
os.register_at_fork(
    # a pool child forked in the middle of a transaction would inherit SQLite's locks held for ever
    before=_between_pulses.acquire,
    after_in_parent=_between_pulses.release,
    after_in_child=_between_pulses.release,
)


class WorkerPulse(bootsteps.StartStopStep):
    """Tell every `WORKER_EVERY` seconds that the worker lives, and at the end that it was stopped on purpose.

    It belongs to the worker, not to its consumer: a lost broker does not end it, and nothing waits for it.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__(worker, **kwargs)

    def start(self, worker: Any) -> None:
        """Start the thread."""
        queues: list[Any] = sorted(worker.app.amqp.queues.consume_from)
        detail: JsonObject = {"queues": queues, "pid": os.getpid(), "version": _version()}
        self._thread = threading.Thread(target=_live, args=(worker.hostname, detail, self._stop), name="pulse", daemon=True)
        self._thread.start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Let the thread say its last word."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=LAST_WORD)
            self._thread = None

    terminate = stop


def _live(name: str, detail: JsonObject, stop: threading.Event) -> None:
    from workers.wiring import platform

    watch, silent = platform().watch, False
    while not stop.is_set():
        silent = not _note(watch, name, detail, complain=not silent)
        stop.wait(WORKER_EVERY)
    _note(watch, name, None, complain=False)


def _note(watch: Watch, name: str, detail: JsonObject | None, *, complain: bool) -> bool:
    """Write one pulse, the last one if there is no `detail`; say whether that went well."""
    try:
        with _between_pulses:
            if detail is None:
                watch.worker_stops(name)
            else:
                watch.worker_lives(name, detail)
    except RecoveryError as error:
        if complain:
            logger.warning("this worker's signs of life cannot be noted: %s", error.message)
        return False
    except Exception:
        if complain:
            logger.exception("this worker's signs of life cannot be noted")
        return False
    return True


def _version() -> str:
    try:
        return version("celery-recovery")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
