"""The migrations make exactly the tables that the code declares, however many processes ask for them at once."""

import ast
import multiprocessing
import os
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from celery.backends.database.models import TaskExtended, TaskSet
from sqlalchemy import Engine, Table, create_engine, inspect, text

from recovery.errors import ConfigurationError, StoreUnavailable, StoreUnprepared
from recovery.models import (
    Approval,
    Attempt,
    Basis,
    BreakerChange,
    CheckState,
    Decision,
    Event,
    Failure,
    Lease,
    Mitigation,
    Pulse,
    Recovery,
    RuleStanding,
    Sample,
    ServiceState,
    Silence,
    Step,
)
from recovery.store import results, schema
from recovery.store.engine import dispose, open_engine
from recovery.store.migrate import HEAD, MIGRATIONS, migrate, revision, run_alembic
from recovery.store.sql import SqlStore
from tests.rows import event

POSTGRES = os.environ.get("RECOVERY_TEST_POSTGRES", "")


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES else ["sqlite"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table, dropped afterwards."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / '100% new' / 'history.db'}"
        return
    name = f"recovery_test_{os.getpid()}_{time.monotonic_ns()}"
    server = create_engine(open_engine(POSTGRES).url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """An engine on a database at head."""
    migrate(empty_url)
    engine = open_engine(empty_url)
    yield engine
    engine.dispose()


def differences(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[Any] = compare_metadata(context, schema.metadata)
        return found


def test_the_migrated_schema_is_the_declared_one(engine: Engine) -> None:
    assert revision(engine) == HEAD
    assert differences(engine) == []


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")

    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_migrating_down_and_up_again_leaves_nothing_and_then_everything(engine: Engine) -> None:
    with engine.begin() as connection:
        run_alembic(connection, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]

    with engine.begin() as connection:
        run_alembic(connection)
    assert differences(engine) == []


@pytest.mark.slow
def test_processes_that_start_at_once_migrate_once(empty_url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(migrate, [empty_url] * 4))

    engine = open_engine(empty_url)
    assert differences(engine) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == [HEAD]
    engine.dispose()


def test_a_database_at_head_needs_no_alembic(engine: Engine, empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.store.migrate.run_alembic", lambda *_: pytest.fail("alembic was asked"))

    migrate(empty_url)

    source = ast.parse((MIGRATIONS.parent / "migrate.py").read_text())
    top_level = {name.name for node in source.body if isinstance(node, ast.Import) for name in node.names}
    assert "alembic" not in top_level


def test_a_database_of_a_newer_version_is_refused(engine: Engine, empty_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(ConfigurationError, match="newer"):
        migrate(empty_url)


def test_sqlite_gets_a_private_folder_a_write_ahead_log_and_foreign_keys(tmp_path: Path) -> None:
    path = tmp_path / "data" / "history.db"

    migrate(f"sqlite:///{path}")

    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        ]
    engine.dispose()
    assert settings == ["wal", 1, 1, 30_000]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_half_finished_migration_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE sweeps (in_the_way INTEGER)")

    with pytest.raises(Exception, match="sweeps"):
        migrate(f"sqlite:///{path}")

    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [("sweeps",)]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?uri=true", "mysql://u:secret@h/d", "nonsense", ""])
def test_a_database_that_cannot_serve_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        migrate(url)

    assert "secret" not in str(caught.value)


def test_a_path_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreUnavailable, match=r"history\.db"):
        migrate(f"sqlite:///{tmp_path / 'file' / 'history.db'}")


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (Recovery, schema.recoveries),
        (Attempt, schema.attempts),
        (Step, schema.steps),
        (Decision, schema.decisions),
        (Event, schema.events),
        (Lease, schema.leases),
        (Mitigation, schema.mitigations),
        (Sample, schema.samples),
        (CheckState, schema.check_states),
        (ServiceState, schema.service_states),
        (Silence, schema.silences),
        (Approval, schema.approvals),
        (Basis, schema.bases),
        (BreakerChange, schema.breaker_changes),
        (RuleStanding, schema.degradation_rules),
        (Pulse, schema.pulses),
    ],
)
def test_every_field_has_a_column(kind: Any, table: Table) -> None:
    own = {field.name for field in fields(kind)}
    bookkeeping = {"id", "repeats", "last_at", "repeat_key", "touched_at", "recovery_seconds", "seconds"} - own

    assert own == set(table.c.keys()) - bookkeeping


def test_every_field_of_a_failure_has_a_column() -> None:
    assert set(Failure.model_fields) | {"failure_id", "recovery_id"} == set(schema.failures.c.keys())


@pytest.mark.parametrize(("theirs", "ours"), [(TaskExtended, results.celery_taskmeta), (TaskSet, results.celery_tasksetmeta)])
def test_the_result_tables_are_celerys_own(theirs: Any, ours: Table) -> None:
    expected: Table = theirs.__table__

    def shape(table: Table) -> list[tuple[Any, ...]]:
        return [
            (
                column.name,
                str(column.type),
                column.nullable,
                column.primary_key,
                bool(column.unique),
                bool(column.index),
                sequence_of(column),
            )
            for column in sorted(table.columns, key=lambda column: column.name)
        ]

    def sequence_of(column: Any) -> str | None:
        return column.default.name if column.default is not None and column.default.is_sequence else None

    assert ours.name == expected.name
    assert shape(ours) == shape(expected)
    assert ours.dialect_options["sqlite"]["autoincrement"] is expected.dialect_options["sqlite"]["autoincrement"]


def test_a_database_without_our_tables_is_not_prepared_until_somebody_migrates(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "100% new").mkdir(exist_ok=True)
    store = SqlStore.open(empty_url)
    try:
        with pytest.raises(StoreUnprepared, match="lacks tables of this version"):
            store.open_recoveries()
        with pytest.raises(StoreUnprepared):
            store.record(events=[event()])

        migrate(empty_url)

        store.record(events=[event()])
        assert store.open_recoveries() == []
    finally:
        dispose(store.engine)
