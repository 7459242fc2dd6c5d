"""Queue `health`: sweeps over the checks of one interval and shard."""

from celery.utils.log import get_task_logger

from recovery.errors import StoreUnavailable
from workers.celery import app
from workers.dispatch import report
from workers.intake import proceed
from workers.wiring import platform

logger = get_task_logger(__name__)


@app.task(name="health.sweep", shared=False, acks_late=False, retry_on_worker_lost=False, send_events=False)  # type: ignore[untyped-decorator]
def sweep(interval: float, shard: int = 0, shards: int = 1) -> None:
    """Probe every check of this interval and shard, report what is sick and restore what is well again.

    A lost sweep is made up for by the next one, so it is neither acknowledged late nor sent again.
    """
    try:
        swept = platform().sweeper.run(platform().fleet(), interval, shard, shards)
        for failure in swept.unhealthy:
            report(failure)
        if swept.claimed:
            for accepted in platform().desk.restore_all():
                proceed(accepted)
    except StoreUnavailable as error:
        logger.warning("a sweep could not be recorded: %s", error.message)
