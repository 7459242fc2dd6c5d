"""What the platform sends to watch itself: canaries through every queue, and a ping to whoever listens outside."""

from datetime import UTC, datetime

from celery.utils.log import get_task_logger

from recovery.errors import StoreUnavailable
from recovery.watch import PlatformStatus
from workers import ping
from workers.celery import app
from workers.wiring import platform

logger = get_task_logger(__name__)


@app.task(name="maintenance.canary", shared=False, acks_late=False, retry_on_worker_lost=False, send_events=False)  # type: ignore[untyped-decorator]
def canary(queue: str, sent_at: float) -> None:
    """Note that a message came through `queue`; a lost canary is no loss, its absence is the message.

    Args:
        queue: the one it was sent to.
        sent_at: epoch seconds.
    """
    try:
        platform().watch.canary_came(queue, datetime.fromtimestamp(sent_at, UTC))
    except StoreUnavailable as error:
        logger.debug("a canary cannot be noted: %s", error.message)  # the tick tells of the outage, one warning per queue would not help


@app.task(name="alerts.ping", shared=False, acks_late=False, retry_on_worker_lost=False, send_events=False)  # type: ignore[untyped-decorator]
def tell_outside() -> None:
    """Ask `ping_url` if all is well; otherwise say nothing, so that whoever listens there alarms."""
    url = platform().fleet().platform.ping_url
    try:
        if url is None or platform().watch.health().status is not PlatformStatus.OK:
            return
        error = ping.ask(url)
        if not platform().watch.pinged(error):
            return
    except StoreUnavailable as unavailable:
        logger.warning("nobody outside is told that all is well: %s", unavailable.message)
        return
    if error is None:
        logger.info("the listener at %s answers again", ping.place(url))
    else:
        logger.warning("the listener at %s was not told that all is well: %s", ping.place(url), error)
