"""Three repairs of Celery's Redis transport: guards against two exits of a worker, and messages that stay claimed while work goes on.

Closed channels: when Redis restarts under an unacknowledged message, kombu 5.7.0 asks a closed channel for its connection
parameters, raises an `AttributeError` that nobody takes for a connection error, and the worker exits. Unreadable messages: so it
does at whatever lies in a queue's list and is no message of kombu's. The heartbeat: the transport counts the visibility timeout from
delivery and nothing extends it, so a long or waiting task is run twice.
"""

import json
import time
from queue import Empty
from typing import Any

import kombu
from celery import Celery, bootsteps
from celery.utils.log import get_logger
from celery.worker import state
from redis.exceptions import ConnectionError as RedisConnectionError

logger = get_logger(__name__)

GUARDED_VERSION = "5.7.0"
"""The only kombu version that has the fault of closed channels."""
SHOWN = 200
"""Characters of an unreadable message that the log repeats."""


def install(app: Celery) -> None:
    """Put all repairs into `app`."""
    guard()
    app.steps["consumer"].add(VisibilityHeartbeat)


def guard() -> None:
    """Put both guards into this process, that of closed channels only where it is needed."""
    if kombu.__version__ == GUARDED_VERSION:
        guard_closed_channels()
    guard_unreadable_messages()


def guard_closed_channels() -> None:
    """Let a closed Redis channel answer with a connection error, or with its last parameters for a late acknowledgement."""
    from kombu.transport.redis import Channel

    original = Channel._connparams  # noqa: SLF001 - there is no public place to mend this
    if getattr(original, "guarded", False):
        return

    def _connparams(channel: Any, asynchronous: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002 - kombu's signature
        transport = channel.connection
        if transport is None or getattr(transport, "client", None) is None:
            known = channel.__dict__.get("_last_connparams")
            if asynchronous or not known:
                raise RedisConnectionError("the broker channel is closed")
            return dict(known)
        params: dict[str, Any] = original(channel, asynchronous)
        channel.__dict__["_last_connparams"] = original(channel, False) if asynchronous else dict(params)  # noqa: FBT003
        return params

    _connparams.guarded = True  # type: ignore[attr-defined]
    Channel._connparams = _connparams  # noqa: SLF001


def guard_unreadable_messages() -> None:
    """Let a worker drop what is no message, with a line in the log, and go on; what waits for a message is in the database."""
    from kombu.transport.redis import Channel, Transport

    read, deliver = Channel._brpop_read, Transport._deliver  # noqa: SLF001 - there is no public place to mend this
    if getattr(read, "guarded", False):
        return

    def _brpop_read(channel: Any, **options: Any) -> bool:
        try:
            return bool(read(channel, **options))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            logger.error("dropped what is no message, from one of the queues %s: %s", ", ".join(sorted(channel.active_queues)), error)  # noqa: TRY400
            raise Empty from None

    def _deliver(transport: Any, message: Any, queue: str) -> None:
        if _is_message(message):
            deliver(transport, message, queue)
        else:
            logger.error("dropped what is no message, from the queue %s: %.*s", queue, SHOWN, message)

    _brpop_read.guarded = True  # type: ignore[attr-defined]
    Channel._brpop_read, Transport._deliver = _brpop_read, _deliver  # noqa: SLF001


def _is_message(found: Any) -> bool:
    """Say whether it has what kombu reads before it asks the tasks."""
    properties = found.get("properties") if isinstance(found, dict) else None
    return (
        isinstance(properties, dict)
        and isinstance(properties.get("delivery_tag"), str)
        and isinstance(properties.get("delivery_info"), dict)
        and isinstance(found.get("headers") or {}, dict)
        and isinstance(found.get("body") or "", str)
    )


class VisibilityHeartbeat(bootsteps.StartStopStep):
    """Keep the messages of a living worker claimed, so that a short visibility timeout is safe.

    Four times per timeout it moves the claims forward. A frozen worker does not, and its messages go to another one:
    that is wanted, the lease's fencing token keeps the two apart.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        self.timer: Any = None
        super().__init__(consumer, **kwargs)

    def start(self, consumer: Any) -> None:
        """Begin to renew, if the broker is Redis."""
        if consumer.connection.transport.driver_type != "redis":
            return
        timeout = consumer.task_consumer.channel.visibility_timeout
        self.timer = consumer.timer.call_repeatedly(max(0.5, timeout / 4), self.renew, (consumer,), priority=10)

    def renew(self, consumer: Any) -> None:
        """Move the claims of every message in this worker's hands to now; a claim that is gone is not revived."""
        try:
            channel = consumer.task_consumer.channel
            tags = _held(channel.qos)
            if tags:
                with channel.conn_or_acquire() as client:
                    client.zadd(channel.unacked_index_key, dict.fromkeys(tags, time.time()), xx=True)
        except Exception as exc:  # noqa: BLE001 - the consumer's own loop deals with a lost broker; the next beat renews
            logger.warning("could not renew the claims on unfinished messages: %r", exc)

    def stop(self, consumer: Any) -> None:  # noqa: ARG002 - Celery's signature
        """Stop renewing."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    shutdown = stop


def _held(qos: Any) -> set[str]:
    """Return the delivery tags of messages delivered or running here and not acknowledged.

    Tasks that run since before a reconnect are unknown to the new channel, so the worker's own requests are asked too.
    """
    delivered = {tag for tag in list(qos._delivered) if tag not in qos._dirty}  # noqa: SLF001 - no public view of them
    running = {request.message.delivery_tag for request in tuple(state.active_requests) if not request.acknowledged}
    return delivered | running
