"""Celery's two result tables, column by column as Celery 5.7 declares them with `result_extended`.

They are written out here because the domain must not import Celery; a test compares them with Celery's own models.
"""

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Sequence, String, Table, Text

from recovery.store.schema import metadata

celery_taskmeta = Table(
    "celery_taskmeta",
    metadata,
    Column("id", Integer, Sequence("task_id_sequence"), primary_key=True, autoincrement=True),
    Column("task_id", String(155), unique=True),
    Column("status", String(50)),
    Column("result", LargeBinary),
    Column("date_done", DateTime, index=True),
    Column("traceback", Text),
    Column("children", LargeBinary),
    Column("name", String(155)),
    Column("args", LargeBinary),
    Column("kwargs", LargeBinary),
    Column("worker", String(155)),
    Column("retries", Integer),
    Column("queue", String(155)),
    Column("stamps", LargeBinary),
    sqlite_autoincrement=True,
)

celery_tasksetmeta = Table(
    "celery_tasksetmeta",
    metadata,
    Column("id", Integer, Sequence("taskset_id_sequence"), primary_key=True, autoincrement=True),
    Column("taskset_id", String(155), unique=True),
    Column("result", LargeBinary),
    Column("date_done", DateTime, index=True),
    sqlite_autoincrement=True,
)
