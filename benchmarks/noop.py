"""A Celery app whose tasks do nothing, under the same settings as ours: the floor for whatever goes through Celery.

One of them keeps its result in the same database, as a report does whose sender may ask what became of it.
"""

import time
from functools import cache

from celery import Celery
from kombu import Exchange, Queue
from redis import Redis

from recovery.settings import Settings
from recovery.store.connect import connect
from workers.locate import beside
from workers.platform.children import INTAKE_AHEAD

QUEUE = "noop"
SAME = ("-c", "2", "-E", "--prefetch-multiplier", str(INTAKE_AHEAD), "--without-gossip", "--without-mingle")
WORKER = ("-m", "celery", "-A", "benchmarks.noop", "--quiet", "worker", "-n", "noop@%h", "-Q", QUEUE, *SAME)
"""What starts it, after `python`: with the options of the intake."""
RAN = "benchmark:noop"
"""A Redis list of the moments at which the task ran."""

app = Celery("noop")
app.config_from_object(beside("celeryconfig"))
app.conf.update(task_queues=[Queue(QUEUE, Exchange(QUEUE), routing_key=QUEUE)], task_routes={}, task_default_queue=QUEUE)


@app.task(name="noop")  # type: ignore[untyped-decorator]
def noop() -> None:
    """Note when it ran."""
    at = time.time()
    _redis().rpush(RAN, repr(at))


@app.task(name="noop_kept", ignore_result=False)  # type: ignore[untyped-decorator]
def noop_kept() -> str:
    """Do the same and keep a result."""
    noop.run()
    return "nothing"


@cache
def _redis() -> Redis:
    return connect(Settings().redis)
