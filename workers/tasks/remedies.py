"""The queues of the strategies: one task per strategy, so that a person can tell them apart in Flower."""

from celery import Task
from celery.utils.log import get_task_logger

from recovery.errors import LeaseLost, StoreUnavailable
from recovery.ports import Strategy
from strategies import STRATEGIES
from workers.celery import app
from workers.dispatch import obey
from workers.wiring import platform

logger = get_task_logger(__name__)

NO_SOFT_LIMIT = 0
"""The soft limit is the engine's: Celery's would strike in the middle of a transaction, and drivers could swallow it. Not None,
which would mean the default."""


def register(strategy: Strategy) -> Task:
    """Register the task `strategy.<name>` on the strategy's queue."""
    name = strategy.name

    @app.task(name=f"strategy.{name}", queue=strategy.queue, soft_time_limit=NO_SOFT_LIMIT, shared=False)  # type: ignore[untyped-decorator]
    def run(service: str, recovery_id: str, attempt: int) -> None:
        """Run one attempt of a recovery, then see what comes next; whatever stops it halfway, the tick resumes it.

        The hard limit comes with the message, from the service's declaration.
        """
        try:
            if platform().executor.run(recovery_id, attempt) is not None:
                obey(platform().coordinator.advance(recovery_id))
        except LeaseLost as error:
            logger.info("%s of %s left to another worker: %s", name, service, error.message)
        except StoreUnavailable as error:
            logger.warning("%s of %s (recovery %s) waits for the next tick: %s", name, service, recovery_id, error.message)

    task: Task = run
    return task


TASKS = {name: register(strategy) for name, strategy in STRATEGIES.items()}
"""The tasks by name of their strategy."""
