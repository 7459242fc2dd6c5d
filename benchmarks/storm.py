"""A storm of equal reports: by one Celery task each, beside tasks that do nothing, and by the stream that clients report into.

The tasks run on the platform that is measured; fewer than a hundred thousand are sent, and the time for all is reckoned from
their rate. A report keeps its result, because its sender may ask for it, so there is a peer that does nothing else. The stream
is drained here: a real Valkey, the platform's own drain, a real database, nothing else at work.
"""

import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import psutil
import structlog

from benchmarks.noop import QUEUE, RAN, WORKER
from benchmarks.results import Result, progress
from benchmarks.run import run
from benchmarks.stage import ASKED
from recovery.models import new_id, utcnow
from recovery.store.connect import connect
from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.stage import Stage
from tests.support import ValkeyServer, eventually
from tests.world import World
from workers.reports import STREAM, Drain

NAME = "storm"
REPORTS, TASKS = 100_000, 2_000
SECONDS = 10.0
"""The target for all of them through the stream."""
REPORT = {"category": "service_unavailable", "message": "connection refused", "source": "benchmark"}


def measure(stage: Stage) -> list[Result]:
    """Return how long all reports take as single tasks, and how long tasks that do nothing take."""
    progress(f"{NAME}: {TASKS:,} tasks that do nothing, as many that keep a result, {TASKS:,} reports as single tasks")
    worker = stage.start(*WORKER)
    nothing, kept = (_rate_of_nothing(stage, worker.pid, name) for name in ("noop", "noop_kept"))
    worker.terminate()
    worker.wait()
    reports = _rate_of_reports(stage)
    floor, said = REPORTS / nothing, f"reckoned from {TASKS:,}: "
    shares = f"{reports / nothing:.2f} and {reports / kept:.2f} of the rates above"
    return [
        Result(NAME, "100,000 tasks that do nothing", floor, "s", note=f"{said}{nothing:,.0f} a second"),
        Result(NAME, "100,000 tasks that do nothing and keep a result", REPORTS / kept, "s", note=f"{said}{kept:,.0f} a second"),
        Result(NAME, "100,000 equal reports as single tasks", REPORTS / reports, "s", floor, f"{said}{reports:,.0f} a second, {shares}"),
    ]


def _rate_of_nothing(stage: Stage, worker: int, task: str) -> float:
    stage.redis.delete(RAN)
    stage.send(task, to=QUEUE)
    eventually(lambda: stage.redis.llen(RAN) >= 1, within=30)
    stage.redis.delete(RAN)
    return _rate(psutil.Process(worker), lambda: stage.send(task, to=QUEUE), lambda: int(stage.redis.llen(RAN)))


def _rate_of_reports(stage: Stage) -> float:
    report = partial(stage.send, "recovery.report_failure", service=ASKED, **REPORT)
    since = utcnow()
    report()
    recovery = stage.opened(ASKED, since)
    before = _failures(stage)
    rate = _rate(stage.part("intake"), report, lambda: _failures(stage) - before)
    stage.send("recovery.cancel", recovery_id=recovery.id)
    return rate


def measure_stream() -> list[Result]:
    """Return the seconds in which the drain takes all of them in."""
    progress(f"{NAME}: {REPORTS:,} reports through the stream")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))  # the log is not what is measured
    with tempfile.TemporaryDirectory(prefix="rcv-") as made:
        server = ValkeyServer(Path(made))
        server.start()
        try:
            seconds = _drained(server, f"sqlite:///{Path(made) / 'history.db'}")
        finally:
            server.kill()
    note = f"{REPORTS / seconds:,.0f} a second, one recovery"
    return [Result(NAME, "100,000 equal reports through the stream", seconds, "s", SECONDS, note)]


def _drained(server: ValkeyServer, database: str) -> float:
    migrate(database)
    store, redis, world = SqlStore.open(database), connect(server.url), World("restart")
    world.use(store)
    _fill(server, world)
    drain = Drain(redis, "benchmark", lambda payloads: world.desk.report_many(payloads, "stream"), lambda _garbage: None)
    stop = threading.Event()
    thread = threading.Thread(target=drain.run, args=(stop,))
    began = time.monotonic()
    thread.start()
    eventually(lambda: redis.xlen(STREAM) == 0, within=120, every=0.05)
    seconds = time.monotonic() - began
    stop.set()
    thread.join()
    recovery = store.open_recovery_of("web")
    assert recovery is not None
    assert recovery.failures == REPORTS, recovery.failures
    dispose(store.engine)
    return seconds


def _fill(server: ValkeyServer, world: World) -> None:
    """Put the reports into the stream, each with an id and a moment of its own."""
    redis = connect(server.url)
    for first in range(0, REPORTS, 1_000):
        with redis.pipeline(transaction=False) as pipe:
            for number in range(first, first + 1_000):
                at = world.now + timedelta(milliseconds=number)
                pipe.xadd(STREAM, {"failure": json.dumps({"id": new_id(), "service": "web", "occurred_at": at.isoformat(), **REPORT})})
            pipe.execute()


def _rate(worker: psutil.Process, send: Callable[[], object], done: Callable[[], int]) -> float:
    """Return how many a second are done while more than enough wait: all are sent before the worker may look at them."""
    worker.suspend()
    for _ in range(TASKS):
        send()
    worker.resume()
    few, many = TASKS // 10, TASKS * 9 // 10
    began, first = _when(done, few)
    ended, last = _when(done, many)
    return (last - first) / (ended - began)


def _when(done: Callable[[], int], wanted: int) -> tuple[float, int]:
    count = eventually(lambda: found if (found := done()) >= wanted else 0, within=120, every=0.01)
    return time.monotonic(), count


def _failures(stage: Stage) -> int:
    recovery = stage.store.open_recovery_of(ASKED)
    return recovery.failures if recovery is not None else 0


if __name__ == "__main__":
    run([measure], [measure_stream])
