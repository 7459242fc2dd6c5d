"""How long from a failure report to the strategy at work, on an idle platform, beside a Celery task that does nothing.

In between the report is validated, written down, planned, held against every guard and locked; the attempt is sent to the
queue of its strategy, and the worker takes the lease: three transactions and two messages, where the other has one message.
"""

import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from benchmarks.noop import QUEUE, RAN, WORKER
from benchmarks.results import Result, progress, summed
from benchmarks.run import alone
from recovery.client import RecoveryClient
from recovery.models import Attempt, Recovery, utcnow
from tests.stage import Stage
from tests.support import eventually

NAME = "dispatch"
ROUNDS = 25
TIMES_NOOP = 4
"""The target: at most so many times the latency of the task that does nothing."""
REPORT = {"service": "quick", "category": "service_unavailable", "message": "benchmark"}


def measure(stage: Stage) -> list[Result]:
    """Return the milliseconds of both, and where ours go."""
    progress(f"{NAME}: {ROUNDS} reports by Celery, {ROUNDS} by the client")
    worker = stage.start(*WORKER)
    _noop(stage, within=30)
    floor, by_task, by_client = [], [], []
    with tempfile.TemporaryDirectory() as spool, RecoveryClient(stage.settings.redis, spool=spool) as client:
        for _ in range(ROUNDS):  # in turn, so that whatever else the machine does hits all of them alike
            floor.append(_noop(stage))
            by_task.append(_report(stage, lambda: stage.send("recovery.report_failure", **REPORT)))
            by_client.append(_report(stage, lambda: client.report("quick", "benchmark", category="service_unavailable")))
    worker.terminate()
    worker.wait()
    target = TIMES_NOOP * median(floor)
    times = f"{median(each['all'] for each in by_task) / median(floor):.1f} times the no-op task"
    return [
        summed(NAME, "Celery task that does nothing, sent to running", floor, "ms"),
        summed(NAME, "report by Celery to strategy running", [each["all"] for each in by_task], "ms", target, times),
        *(summed(NAME, f"   of it: {part}", [each[part] for each in by_task], "ms") for part in PARTS),
        summed(NAME, "report by RecoveryClient to strategy running", [each["all"] for each in by_client], "ms", target),
        *(summed(NAME, f"   of it: {part}", [each[part] for each in by_client], "ms") for part in PARTS),
    ]


PARTS = ("message to the intake, validated", "written down, planned, guards, cooldown lock", "message to the worker, lease, first row")


def _report(stage: Stage, send: Callable[[], object]) -> dict[str, float]:
    """Report once, wait for the end of the recovery, and return the milliseconds of each part."""
    stage.await_healthy("quick")
    since = utcnow()
    send()
    recovery = stage.closed("quick", since)
    (attempt,) = stage.store.attempts(recovery.id)
    return _parts(since, recovery, attempt)


def _parts(since: datetime, recovery: Recovery, attempt: Attempt) -> dict[str, float]:
    assert attempt.started_at is not None
    moments = (since, recovery.created_at, attempt.created_at, attempt.started_at)
    spans = [(after - before) / timedelta(milliseconds=1) for before, after in pairwise(moments)]
    return dict(zip(PARTS, spans, strict=True)) | {"all": sum(spans)}


def _noop(stage: Stage, within: float = 5.0) -> float:
    """Send the task that does nothing and return the milliseconds until it ran."""
    time.sleep(0.2)  # as idle as when a failure comes
    stage.redis.delete(RAN)
    sent = time.time()
    stage.send("noop", to=QUEUE)
    ran = eventually(lambda: stage.redis.lindex(RAN, 0), within)
    return (float(str(ran, "ascii")) - sent) * 1000  # type: ignore[arg-type]


if __name__ == "__main__":
    alone(measure)
