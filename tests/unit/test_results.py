"""Celery's questions about a recovery are answered from the recovery's own row."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery, states
from celery.exceptions import BackendGetMetaError
from celery.result import AsyncResult

from recovery.errors import ServiceNotFound, StoreUnavailable
from recovery.models import Action, Attempt, AttemptState, Category, Kind, Outcome, Plan, Recovery, RecoveryState, Severity
from recovery.ports import Store
from recovery.store.engine import open_engine
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from workers.results import meta_of

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
OPEN = Recovery(
    id="5f0c6a0e-1111-4222-8333-444455556666",
    service="shop",
    fingerprint="f",
    category=Category.SERVICE_UNAVAILABLE,
    severity=Severity.HIGH,
    kind=Kind.MANUAL,
    state=RecoveryState.PENDING,
    plan=Plan(),
    created_at=NOON,
    first_evidence_at=NOON,
    due_at=NOON,
)
CLOSED = replace(
    OPEN,
    state=RecoveryState.SUCCEEDED,
    outcome=Outcome.RESOLVED,
    reason="all checks pass",
    finished_at=NOON + timedelta(seconds=3),
    due_at=None,
)
RESTART = Attempt(OPEN.id, 1, "shop", "restart", "restart", Action.APPLY, AttemptState.QUEUED, NOON)


@pytest.fixture
def store(sqlite_url: str) -> Store:
    migrate(sqlite_url)
    return SqlStore(open_engine(sqlite_url))


@pytest.fixture
def app(sqlite_url: str) -> Celery:
    return Celery("asking", backend=f"workers.results:RecoveryBackend+{sqlite_url}", set_as_current=False)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (RecoveryState.PENDING, states.PENDING),
        (RecoveryState.IN_PROGRESS, states.STARTED),
        (RecoveryState.SUCCEEDED, states.SUCCESS),
        (RecoveryState.FAILED, states.SUCCESS),
        (RecoveryState.CANCELLED, states.SUCCESS),
        (RecoveryState.SUPPRESSED, states.SUCCESS),
    ],
)
def test_the_state_of_a_recovery_is_said_in_celerys_words(state: RecoveryState, status: str) -> None:
    assert meta_of(replace(OPEN, state=state), [])["status"] == status


def test_a_closed_recovery_is_a_result_with_its_outcome(app: Celery, store: Store) -> None:
    store.open_recovery(OPEN, None, (), ())
    assert store.transition(OPEN, CLOSED, attempt=RESTART) is not None

    value = AsyncResult(OPEN.id, app=app).get(timeout=60)

    assert value == {
        "recovery_id": OPEN.id,
        "service": "shop",
        "state": "succeeded",
        "outcome": "resolved",
        "reason": "all checks pass",
        "strategies": ["restart"],
        "recovery_seconds": 3.0,
    }


def test_an_open_recovery_has_no_result_yet(app: Celery, store: Store) -> None:
    store.open_recovery(OPEN, None, (), ())

    asked = AsyncResult(OPEN.id, app=app)

    assert (asked.status, asked.ready()) == (states.PENDING, False)


def test_an_answer_is_not_kept_while_the_recovery_is_open(app: Celery, store: Store) -> None:
    store.open_recovery(OPEN, None, (), ())
    asked = AsyncResult(OPEN.id, app=app)
    before = asked.status
    store.transition(OPEN, CLOSED)

    assert (before, asked.status) == (states.PENDING, states.SUCCESS)


def test_the_beginning_of_an_id_is_not_an_id(app: Celery, store: Store) -> None:
    store.open_recovery(OPEN, None, (), ())
    store.transition(OPEN, CLOSED)

    assert AsyncResult(OPEN.id[:8], app=app).status == states.PENDING


def test_results_of_ordinary_tasks_are_kept_as_ever(app: Celery, store: Store) -> None:
    app.backend.store_result("some-task", {"answer": 42}, states.SUCCESS)

    assert AsyncResult("some-task", app=app).get(timeout=60) == {"answer": 42}


def test_the_refusal_of_a_request_is_one_sentence_for_who_asks_celery_for_its_result(app: Celery, store: Store, sqlite_url: str) -> None:
    refused, broken = ServiceNotFound("no service 'shpo' is declared, did you mean 'shop'?"), KeyError("a mistake of ours")
    app.backend.mark_as_failure("refused", refused)
    app.backend.mark_as_failure("broken", broken)

    told, shown = (ask_celery(sqlite_url, task_id) for task_id in ("refused", "broken"))

    assert (told.returncode, told.stdout, told.stderr) == (1, "", f"Error: {refused.message}\n")
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr


def ask_celery(database: str, task_id: str) -> subprocess.CompletedProcess[str]:
    """Run `celery -A workers result`."""
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers", "result", task_id],
        env={**os.environ, "RECOVERY_DATABASE_URL": database, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_threads_of_a_process_share_one_backend(app: Celery, store: Store) -> None:
    first = app.backend

    with ThreadPoolExecutor(1) as other_thread:
        assert other_thread.submit(lambda: app.backend).result() is first


def test_a_process_that_keeps_results_does_without_the_object_relational_mapper() -> None:
    program = "import sys, workers.tasks, workers.results; print([name for name in sys.modules if name.startswith('sqlalchemy.orm')])"

    asked = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)

    assert asked.stdout == "[]\n"


def test_a_question_is_asked_again_while_the_database_is_away(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [StoreUnavailable("away"), StoreUnavailable("away"), None]

    def ask(_name: str) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    monkeypatch.setattr(app.backend, "_recovery", ask)
    monkeypatch.setattr(app.backend, "_results", SimpleNamespace(result=lambda _name: None))

    assert AsyncResult("some-task", app=app).status == states.PENDING
    assert answers == []


def test_who_asks_in_vain_is_told_so(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(_name: str) -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(app.backend, "_recovery", ask)

    with pytest.raises(BackendGetMetaError):
        _ = AsyncResult("some-task", app=app).status


def test_a_database_that_is_away_does_not_hold_up_a_sender() -> None:
    app = Celery(
        "away", broker="memory://", backend="workers.results:RecoveryBackend+postgresql://nobody@127.0.0.1:1/none", set_as_current=False
    )

    sent = app.send_task("some.task")

    assert sent.id
