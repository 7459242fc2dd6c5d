"""Celery's results, written by one statement each."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from recovery.store.results import celery_taskmeta
from recovery.store.sql.room import Room, dialect_insert

SUCCESS = "SUCCESS"
"""Celery's word for a task that is done: whatever comes after it is not written."""
COLUMNS = tuple(column.name for column in celery_taskmeta.columns if column.name != "id")


@cache
def _put(dialect: str) -> Any:
    insert = dialect_insert(dialect, celery_taskmeta)
    rest = {name: insert.excluded[name] for name in COLUMNS if name != "task_id"}
    return insert.on_conflict_do_update(index_elements=["task_id"], set_=rest, where=celery_taskmeta.c.status != SUCCESS)


class SqlResults(Room):
    """Keeps what became of tasks; the tables are Celery's."""

    def put_result(self, row: Mapping[str, Any]) -> None:
        """Insert or replace a result by its `task_id`; a success that is there already stays."""
        with self._writing() as connection:
            connection.execute(_put(connection.dialect.name), {name: row.get(name) for name in COLUMNS})
