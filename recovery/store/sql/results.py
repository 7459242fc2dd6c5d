"""Celery's results and saved groups; the tables are Celery's, and each call is one transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Table, bindparam, delete, select

from recovery.store.results import celery_taskmeta, celery_tasksetmeta
from recovery.store.sql.room import Room, dialect_insert

SUCCESS = "SUCCESS"
"""Celery's word for a task that is done: whatever comes after it is not written."""
COLUMNS = tuple(column.name for column in celery_taskmeta.columns if column.name != "id")

_tasks, _groups = celery_taskmeta.c, celery_tasksetmeta.c
_RESULT = select(*(_tasks[name] for name in COLUMNS)).where(_tasks.task_id == bindparam("of"))
_GROUP = select(_groups.taskset_id, _groups.result, _groups.date_done).where(_groups.taskset_id == bindparam("of"))
_FORGET = delete(celery_taskmeta).where(_tasks.task_id == bindparam("of"))
_FORGET_GROUP = delete(celery_tasksetmeta).where(_groups.taskset_id == bindparam("of"))
_FORGET_OLD = tuple(delete(table).where(table.c.date_done < bindparam("before")) for table in (celery_taskmeta, celery_tasksetmeta))


@cache
def _put(dialect: str, table: Table, key: str) -> Any:
    insert = dialect_insert(dialect, table)
    rest = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in {"id", key}}
    return insert.on_conflict_do_update(index_elements=[key], set_=rest, where=_tasks.status != SUCCESS if key == "task_id" else None)


class SqlResults(Room):
    """Keeps what became of tasks."""

    def put_results(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert or replace results by their `task_id`, all or none; a success that is there already stays."""
        ordered = sorted(rows, key=itemgetter("task_id"))  # everybody locks in the same order, so nobody waits in a circle
        with self._writing() as connection:
            put = _put(connection.dialect.name, celery_taskmeta, "task_id")
            connection.execute(put, [{name: row.get(name) for name in COLUMNS} for row in ordered])

    def result(self, task_id: str) -> dict[str, Any] | None:
        """Return the columns of a result, None if there is none."""
        return self._found(_RESULT, task_id)

    def forget_result(self, task_id: str) -> None:
        """Delete a result, if there is one."""
        self._delete(_FORGET, {"of": task_id})

    def put_group(self, group_id: str, result: bytes, now: datetime) -> None:
        """Insert or replace a saved group."""
        with self._writing() as connection:
            put = _put(connection.dialect.name, celery_tasksetmeta, "taskset_id")
            connection.execute(put, {"taskset_id": group_id, "result": result, "date_done": now})

    def group(self, group_id: str) -> dict[str, Any] | None:
        """Return the columns of a saved group, None if there is none."""
        return self._found(_GROUP, group_id)

    def forget_group(self, group_id: str) -> None:
        """Delete a saved group, if there is one."""
        self._delete(_FORGET_GROUP, {"of": group_id})

    def forget_old(self, before: datetime) -> None:
        """Delete results and groups that were done before a moment (UTC, without a zone, as they are written)."""
        with self._writing() as connection:
            for statement in _FORGET_OLD:
                connection.execute(statement, {"before": before})

    def _found(self, statement: Any, of: str) -> dict[str, Any] | None:
        with self._reading() as connection:
            row = connection.execute(statement, {"of": of}).first()
        return None if row is None else dict(row._asdict())

    def _delete(self, statement: Any, values: dict[str, Any]) -> None:
        with self._writing() as connection:
            connection.execute(statement, values)
