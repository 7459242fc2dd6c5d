"""What tests of commands share: a small fleet, its history, and the reading of what was printed."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from recovery.models import (
    Attempt,
    AttemptState,
    CheckState,
    Choice,
    Decision,
    Outcome,
    Recovery,
    RecoveryState,
    ServiceState,
    Status,
    StepState,
    utcnow,
)
from recovery.store.engine import dispose
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.rows import attempt, failure, lease_for, recovery, step
from workers.cli import recovery as command_line

FILE = """
[services.shop]
description = "sells"
depends_on = ["cache"]
[[services.shop.checks]]
type = "tcp"
port = 8080
interval = 2
[services.shop.remedies.degrade]
[services.cache]
[[services.cache.checks]]
type = "tcp"
port = 6379
"""

APPROVED = """
[platform]
approvers = ["ada", "grace"]
[services.shop]
labels = { team = "payments" }
[services.shop.driver]
type = "command"
restart = ["true"]
[[services.shop.checks]]
type = "tcp"
port = 8080
interval = 2
[services.cache]
[[services.cache.checks]]
type = "tcp"
port = 6379
"""
"""A fleet in which somebody may be asked, and `shop` can be restarted."""

Run = Callable[..., Result]


def commands_in(folder: Path, fleet: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs a command as in a folder with this configuration."""
    (folder / "recovery.toml").write_text(fleet)
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(folder / "data"))
    monkeypatch.setenv("RECOVERY_CONFIG", str(folder / "recovery.toml"))
    return lambda *arguments: CliRunner().invoke(command_line, list(arguments), prog_name="recovery")


@contextmanager
def history_in(folder: Path) -> Iterator[SqlStore]:
    """Lend the history that commands in this folder read."""
    url = f"sqlite:///{folder / 'data' / 'history.db'}"
    migrate(url)
    store = SqlStore.open(url)
    try:
        yield store
    finally:
        dispose(store.engine)


def seen(store: SqlStore, service: str, status: Status, ago: float = 0.0) -> None:
    now = utcnow() - timedelta(seconds=ago)
    state = ServiceState(service, status, 100 if status is Status.HEALTHY else 0, since=now, seen_at=now, message="refused")
    store.record_sweep([], [CheckState(service, "tcp", status, at=now, message="refused", latency=0.02)], [state], [])


def recovered(store: SqlStore, service: str = "shop", outcome: Outcome = Outcome.RESOLVED) -> Recovery:
    """Store a recovery that was reported, acted and closed."""
    finished = utcnow()
    now = finished - timedelta(seconds=2)
    row = recovery(service, created_at=now, first_evidence_at=now - timedelta(seconds=0.5), message="does not answer", reason="accepted")
    held = Decision(service, Choice.DELAY, "cooldown", "cooling down: 5.0 s left", now, row.id, "restart", facts={"left": 5.0}, until=now)
    store.open_recovery(row, failure(service, occurred_at=row.first_evidence_at, source="health"), [held], [])
    first: Attempt = attempt(row)
    current = store.transition(row, replace(row, state=RecoveryState.IN_PROGRESS, attempt=1), attempt=first)
    assert current
    lease = store.acquire_lease(service, row.id, "worker-1", now, now + timedelta(seconds=10)) or lease_for(store, row)
    running = store.begin_attempt(lease, 1, now)
    store.journal(lease, step(row, 0, fence=lease.fence, name="stop", state=StepState.FINISHED, started_at=now, finished_at=now))
    done = replace(running, state=AttemptState.FINISHED, outcome=outcome, finished_at=now, reason="1 check passed")
    store.finish_attempt(lease, done, [], now)
    store.release_lease(lease)
    current = store.recovery(row.id)
    assert current
    state = RecoveryState.SUCCEEDED if outcome in {Outcome.RESOLVED, Outcome.MITIGATED} else RecoveryState.FAILED
    closed = store.transition(
        current, replace(current, state=state, outcome=outcome, finished_at=finished, due_at=None, reason="1 check passed")
    )
    assert closed
    return closed


def output(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


def data(result: Result, code: int = 0) -> Any:
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)
