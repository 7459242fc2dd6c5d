"""Sends what comes next. Messages carry ids, never truth: whatever is lost here, the tick sends again."""

from typing import Any

from celery.utils.log import get_logger
from kombu.exceptions import KombuError
from kombu.transport.pyamqp import Transport as Rabbit
from redis.exceptions import RedisError

from recovery.config.fleet import ServiceDeclaration
from recovery.models import Failure
from recovery.ports import Directive, Done, Execute
from workers.celery import app
from workers.endings import announce
from workers.wiring import platform

logger = get_logger(__name__)

OWN_QUEUE = "maintenance"
"""Takes the platform's own reports and the requests of its command line, so that a flood of others' in `failures` is not in their way."""

NOT_SENT = (KombuError, RedisError, OSError, *Rabbit.connection_errors, *Rabbit.channel_errors)
"""What the brokers' libraries raise when a message did not get through."""


def obey(directive: Directive) -> None:
    """Send the strategy task if the coordinator said so, and tell services of an end; a wait needs no message.

    A broker that is away is not an error here: the recovery's row stays due, and the tick sends the message later.
    """
    if isinstance(directive, Execute):
        send(
            f"strategy.{directive.strategy}",
            {"service": directive.service, "recovery_id": directive.recovery_id, "attempt": directive.attempt},
            queue=directive.queue,
            task_id=f"{directive.recovery_id}.{directive.attempt}",  # a message sent twice is one task in Flower
            time_limit=hard_limit(directive.service),
        )
    elif isinstance(directive, Done):
        announce(directive.recovery_id)


def hard_limit(service: str) -> float:
    """Return the seconds after which the worker process of an attempt on `service` is killed, as the service declares it."""
    services = platform().fleet().services
    declared = services[service] if service in services else ServiceDeclaration(name=service)  # gone since it was decided
    return declared.hard_limit


def report(failure: Failure) -> None:
    """Send a failure to the intake; a lost one is reported again by the next sweep."""
    shown = {"service": failure.service, "category": failure.category.value, "message": failure.message[:200]}
    send("recovery.report_failure", failure.model_dump(mode="json"), queue=OWN_QUEUE, kwargsrepr=repr(shown), ignore_result=True)


def send(name: str, kwargs: dict[str, Any], **options: Any) -> bool:
    """Send one task; say False, in the log too, if the broker did not take it."""
    try:
        app.send_task(name, kwargs=kwargs, **options)
    except NOT_SENT as error:
        logger.warning("could not send %s, it will be sent again: %s", name, error)
        return False
    return True
