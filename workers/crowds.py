"""Which queues hold so much that one more canary says nothing new. A queue that nobody serves must not fill up with them."""

from collections.abc import Iterable

from celery import Celery
from celery.utils.log import get_logger
from kombu.exceptions import KombuError

logger = get_logger(__name__)

CROWD = 100
"""Messages in a queue from which on it gets no more canaries."""
PATIENCE = 3.0
"""Seconds to wait for the broker."""


def crowded(app: Celery, queues: Iterable[str], limit: int = CROWD) -> frozenset[str]:
    """Return those of `queues` in which `limit` messages or more wait; none if the broker does not say."""
    found = set()
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=PATIENCE)
            for queue in queues:
                with connection.channel() as channel:
                    waiting = app.amqp.queues[queue].bind(channel).queue_declare()  # as who sends does; a passive one finds none on Redis
                    if waiting.message_count >= limit:
                        found.add(queue)
    except (KombuError, *app.connection_for_read().recoverable_connection_errors) as error:
        logger.debug("the broker does not say how much waits: %s", error)
    return frozenset(found)
