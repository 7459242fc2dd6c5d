"""Celery's result backend on the history's own database: it answers for recoveries too, so `AsyncResult(recovery_id)` tells the truth."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from celery import states
from celery.backends.database import DatabaseBackend
from celery.backends.database.session import SessionManager
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from recovery.errors import StoreUnavailable
from recovery.models import Attempt, Recovery, RecoveryState
from recovery.store.engine import open_engine
from recovery.store.sql import SqlStore
from recovery.store.sql.results import SqlResults


class RecoveryBackend(DatabaseBackend):
    """Keep task results in the usual tables, and answer for the id of a recovery from the recovery's own row.

    An open recovery is PENDING until its first attempt, then STARTED; a closed one is SUCCESS with what `summary`
    says, whatever its outcome: the question was answered. Nothing is connected before the first result is read or
    written, so a database that is away does not hold up a sender.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session_manager = KeptSessions()

    def _create_tables(self) -> None:
        """Leave that to the migrations; Celery would do it while a sender waits."""

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **_options: Any
    ) -> None:
        """Write a result by one statement: Celery's own way reads, inserts and updates, which takes longer than most tasks."""
        row = SimpleNamespace(stamps=None)
        self._update_result(row, result, state, traceback=traceback, request=request)
        with _retried_by_celery():
            SqlResults(self.session_manager.get_engine(self.url)).put_result({**vars(row), "task_id": task_id})

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        store = SqlStore(self.session_manager.get_engine(self.url))
        with _retried_by_celery():
            recovery = store.recovery(task_id)
            if recovery is not None and recovery.id == task_id:
                return meta_of(recovery, store.attempts(task_id))
        meta: dict[str, Any] = super()._get_task_meta_for(task_id)
        return meta


@contextmanager
def _retried_by_celery() -> Iterator[None]:
    """Turn our word for an outage into SQLAlchemy's: Celery tries again on those only."""
    try:
        yield
    except StoreUnavailable as error:
        raise OperationalError(None, None, error) from error


class KeptSessions(SessionManager):
    """Use one engine per database and process, as the store opens it; Celery's own opens one per call outside its pool's children."""

    def __init__(self) -> None:
        super().__init__()
        self.forked = True  # selects the branch that keeps sessions
        self.prepared = True  # the migrations make the tables

    def get_engine(self, dburi: str, **_options: Any) -> Engine:
        """Return the engine for `dburi`; it empties its own pool in a forked child."""
        if dburi not in self._engines:
            self._engines[dburi] = open_engine(dburi)
        engine: Engine = self._engines[dburi]
        return engine


def meta_of(recovery: Recovery, attempts: list[Attempt]) -> dict[str, Any]:
    """Return a recovery as Celery's description of a task."""
    if not recovery.state.is_open:
        status, result = states.SUCCESS, summary(recovery, attempts)
    else:
        status, result = states.STARTED if recovery.state is RecoveryState.IN_PROGRESS else states.PENDING, None
    return {
        "task_id": recovery.id,
        "status": status,
        "result": result,
        "traceback": None,
        "children": [],
        "date_done": recovery.finished_at,
        "name": "recovery",
    }


def summary(recovery: Recovery, attempts: list[Attempt]) -> dict[str, Any]:
    """Return what became of a closed recovery, as JSON."""
    return {
        "recovery_id": recovery.id,
        "service": recovery.service,
        "state": recovery.state.value,
        "outcome": recovery.outcome.value if recovery.outcome else None,
        "reason": recovery.reason,
        "strategies": [attempt.strategy for attempt in attempts],
        "recovery_seconds": recovery.recovery_seconds,
    }
