"""Celery's result backend on the history's own database: it answers for recoveries too, so `AsyncResult(recovery_id)` tells the truth."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from celery import states
from celery.backends.base import BaseBackend
from celery.result import result_from_tuple
from celery.utils.time import maybe_timedelta
from kombu.utils.encoding import ensure_bytes

from recovery.errors import StoreUnavailable
from recovery.models import Attempt, Recovery, RecoveryState
from recovery.store.engine import open_engine
from recovery.store.sql import SqlStore
from recovery.store.sql.results import COLUMNS, SqlResults

RETRIES = 3
"""How often a call is tried again while the database is away, unless the app says so itself; as Celery's own database backend does."""
ENCODED = ("result", "args", "kwargs", "children", "stamps")
"""Columns that are written as JSON."""


class RecoveryBackend(BaseBackend):
    """Keep task results in the usual tables, and answer for the id of a recovery from the recovery's own row.

    An open recovery is PENDING until its first attempt, then STARTED; a closed one is SUCCESS with what `summary`
    says, whatever its outcome: the question was answered. Nothing is connected before the first result is read or
    written, so a database that is away does not hold up a sender. Celery's own database backend would bring SQLAlchemy's
    object-relational mapper into every process, 8 MB, and read a row before it writes it.
    """

    subpolling_interval = 0.5

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, expires_type=maybe_timedelta, **kwargs)
        self.thread_safe = True  # the threads of a process share its connections
        if not self.app.conf.value_set_for("result_backend_always_retry"):
            self.always_retry = True
        if not self.app.conf.value_set_for("result_backend_max_retries"):
            self.max_retries = RETRIES

    @cached_property
    def _store(self) -> SqlStore:
        return SqlStore(open_engine(self.url))

    @cached_property
    def _results(self) -> SqlResults:
        return SqlResults(self._store.engine)

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Say whether the database may answer in a moment."""
        return isinstance(exc, StoreUnavailable)

    def put_successes(self, done: Sequence[tuple[Any, Any]]) -> None:
        """Write what several tasks returned in one transaction; raises `StoreUnavailable` at once, and then nothing was written.

        Args:
            done: the context of each task, and what it returned; what nobody wants to be kept is not.
        """
        rows = [self._row(each.id, value, states.SUCCESS, None, each) for each, value in done if not each.ignore_result]
        if rows:
            self._results.put_results(rows)

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: str | None = None, request: Any = None, **_options: Any
    ) -> None:
        self._results.put_results([self._row(task_id, result, state, traceback, request)])

    def _row(self, task_id: str, result: Any, state: str, traceback: str | None, request: Any) -> dict[str, Any]:
        meta = self._get_result_meta(
            result=ensure_bytes(self.encode(result)), state=state, traceback=traceback, request=request, format_date=False, encode=True
        )
        row = {name: meta.get(name) for name in COLUMNS}
        row["task_id"], row["date_done"] = task_id, _to_column(meta["date_done"])
        row["children"] = ensure_bytes(self.encode(meta["children"])) if meta["children"] else None
        if headers := meta.get("stamped_headers"):
            stamps = {header: meta[header] for header in headers if header in meta}
            row["stamps"] = ensure_bytes(self.encode({"stamped_headers": headers, "stamps": stamps}))
        return row

    def _get_task_meta_for(self, task_id: str) -> dict[str, Any]:
        recovery = self._recovery(task_id)
        if recovery is not None:
            return meta_of(recovery, self._store.attempts(task_id))
        row = self._results.result(task_id) or dict.fromkeys(COLUMNS) | {"task_id": task_id, "status": states.PENDING}
        row |= {name: self.decode(row[name]) for name in ENCODED} | {"date_done": _from_column(row["date_done"])}
        stamps = row.pop("stamps")
        if stamps is not None:
            row |= {"stamped_headers": stamps["stamped_headers"], **stamps["stamps"]}
        meta: dict[str, Any] = self.meta_from_decoded(row)
        return meta

    def _recovery(self, task_id: str) -> Recovery | None:
        found = self._store.recovery(task_id)
        return found if found is not None and found.id == task_id else None  # it was asked by the beginning of an id otherwise

    def task_result_exists(self, task_id: str) -> bool:
        """Say whether there is anything to tell of a task."""
        return bool(self._ensure_retryable(lambda: self._recovery(task_id) or self._results.result(task_id)))

    def _forget(self, task_id: str) -> None:
        self._results.forget_result(task_id)

    def _save_group(self, group_id: str, result: Any) -> Any:
        self._results.put_group(group_id, ensure_bytes(self.encode(self.prepare_value(result))), _now())
        return result

    def _restore_group(self, group_id: str) -> dict[str, Any] | None:
        found = self._results.group(group_id)
        if found is None:
            return None
        value = self.decode(found["result"])
        return found | {"result": value and result_from_tuple(value, self.app), "date_done": _from_column(found["date_done"])}

    def _delete_group(self, group_id: str) -> None:
        self._results.forget_group(group_id)

    def cleanup(self) -> None:
        """Delete what is older than `result_expires`; None keeps everything."""
        if self.expires is not None:
            self._ensure_retryable(self._results.forget_old, _now() - self.expires)

    def __reduce__(self, args: Any = (), kwargs: dict[str, Any] | None = None) -> Any:
        return super().__reduce__(args, {**(kwargs or {}), "url": self.url, "expires": self.expires})


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _to_column(moment: datetime | None) -> datetime | None:
    """Return a moment as Celery's columns hold it: in UTC, without a zone."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _from_column(moment: datetime | None) -> datetime | None:
    return None if moment is None else moment.replace(tzinfo=UTC)


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
