"""A Celery app with one task that does nothing, under the same settings as ours: the floor for whatever goes through Celery."""

import time
from functools import cache

from celery import Celery
from kombu import Exchange, Queue
from redis import Redis

from recovery.settings import Settings
from recovery.store.connect import connect
from workers.locate import beside

QUEUE = "noop"
WORKER = ("-m", "celery", "-A", "benchmarks.noop", "--quiet", "worker", "-n", "noop@%h", "-Q", QUEUE, "-c", "2", "--without-mingle")
"""What starts it, after `python`: as many processes as the intake has."""
RAN = "benchmark:noop"
"""A Redis list of the moments at which the task ran."""

app = Celery("noop")
app.config_from_object(beside("celeryconfig"))
app.conf.update(
    task_queues=[Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)], task_routes={}, task_default_queue=QUEUE, result_backend=None
)


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> None:
    """Note when it ran."""
    at = time.time()
    _redis().rpush(RAN, repr(at))


@cache
def _redis() -> Redis:
    return connect(Settings().redis)
