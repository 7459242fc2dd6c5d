"""Celery's consumer as the workers use it: without delayed delivery through RabbitMQ.

Celery would keep 28 queues and exchanges there for messages with an ETA, and bind every queue to them at each start, also the
queues that no worker has declared yet, which fails. Nothing here sends an ETA but the repeat of a task whose process died,
one second later; a worker holds that one back by itself, as on Redis.
"""

from celery.worker.consumer import Consumer as CeleryConsumer

UNWANTED = "celery.worker.consumer.delayed_delivery:DelayedDelivery"


class Consumer(CeleryConsumer):
    """What takes messages from the broker, in each worker."""

    class Blueprint(CeleryConsumer.Blueprint):
        """The steps of its start."""

        default_steps = tuple(step for step in CeleryConsumer.Blueprint.default_steps if step != UNWANTED)
