"""Queue `maintenance`: the tick behind every lost message, and the pruning of old rows."""

from dataclasses import asdict
from datetime import timedelta

from celery.utils.log import get_task_logger

from recovery.errors import StoreUnavailable
from recovery.models import JsonObject, utcnow
from workers.celery import app
from workers.dispatch import obey
from workers.wiring import platform

logger = get_task_logger(__name__)


@app.task(name="maintenance.tick", acks_late=False, retry_on_worker_lost=False, send_events=False)  # type: ignore[untyped-decorator]
def tick() -> None:
    """Look at what is due: timers, expired leases, messages that never arrived; send it on, never execute it."""
    try:
        for directive in platform().reaper.tick():
            obey(directive)
    except StoreUnavailable as error:
        logger.warning("nothing can be recovered now: %s", error.message)


@app.task(name="maintenance.prune", acks_late=False, retry_on_worker_lost=False)  # type: ignore[untyped-decorator]
def prune() -> JsonObject:
    """Delete samples and closed recoveries that are older than the configuration keeps them; return how many.

    Raises:
        StoreUnavailable: the database is away; the next hour's run makes up for it.
    """
    keep, now = platform().fleet().platform, utcnow()
    pruned = platform().history.prune(
        samples_before=now - timedelta(seconds=keep.keep_samples),
        history_before=now - timedelta(seconds=keep.keep_history),
    )
    return asdict(pruned)
