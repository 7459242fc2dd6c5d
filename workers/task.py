"""What every task of this app has in common: no error of a task may take its worker down or fill the log with stack traces."""

import inspect
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

from celery import Task
from celery.utils.log import get_task_logger
from pydantic import TypeAdapter, ValidationError
from structlog.contextvars import bound_contextvars

from recovery.errors import RecoveryError, TaskOutOfMemory

logger = get_task_logger(__name__)

SHOWN = 100
"""Characters of a wrong argument that a message repeats."""
IN_EVERY_LINE = {"service": "service", "recovery_id": "recovery"}
"""Arguments that go into every log line of a task, and their names there."""


class RecoveryTask(Task):
    """A task whose expected errors are one sentence in the log and in its result."""

    abstract = True
    throws = (RecoveryError,)
    """Expected: told in one line, without a stack trace."""
    max_retries = 2
    """How often a task is sent again after its worker process was lost."""
    soft_time_limit = 240
    """Seconds after which a task is interrupted; strategies, whose limit is the engine's, set 0."""
    default_retry_delay = 1
    """Seconds; a lease outlives it, so nothing runs twice."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body.

        Raises:
            RecoveryError: the arguments do not fit, or the body raised it.
            TaskOutOfMemory: the body ran out of memory; Celery would end the whole worker for a bare `MemoryError`.
        """
        try:
            self._refuse_misfits(args, kwargs)
            with bound_contextvars(**{shown: kwargs[name] for name, shown in IN_EVERY_LINE.items() if kwargs.get(name)}):
                return self.run(*args, **kwargs)
        except RecoveryError as error:
            logger.warning("%s: %s", self.name, error.message)
            raise
        except MemoryError:
            raise TaskOutOfMemory(f"{self.name} ran out of memory") from None

    def _refuse_misfits(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signature, wanted = _expected(self.run)
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise RecoveryError(f"wrong arguments: {error}") from None
        for name, adapter in wanted.items():
            if name in bound.arguments:
                _require(name, adapter, bound.arguments[name])


@cache
def _expected(body: Callable[..., Any]) -> tuple[inspect.Signature, dict[str, TypeAdapter[Any]]]:
    """Return what a task takes; made once per process, because an adapter costs more than many a task."""
    signature = inspect.signature(body)  # without the task itself, which Celery hands to a bound one
    hints = {name: hint for name, hint in typing.get_type_hints(body).items() if name in signature.parameters and hint is not object}
    return signature, {name: TypeAdapter(hint) for name, hint in hints.items()}


def _require(name: str, wanted: TypeAdapter[Any], given: object) -> None:
    try:
        wanted.validate_python(given, strict=True)
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise RecoveryError(f"wrong arguments: '{name}': {said[:1].lower()}{said[1:]}, not {str(given)[:SHOWN]!r}") from None
