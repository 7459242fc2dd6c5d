"""Pruning in small steps: what goes, what stays, and how long anybody has to wait for it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as sql_event
from sqlalchemy import func, select

from recovery.history import History, MeanTime
from recovery.models import Approval, Basis, BreakerChange, Kind, Mitigation, Outcome, Recovery, RecoveryState, Silence, SilenceKind
from recovery.ports import Refusal, Report
from recovery.store import schema
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.rows import at, decision, failure, recovery


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "history.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(migrated: Path, tmp_path: Path) -> Iterator[SqlStore]:
    shutil.copy(migrated, tmp_path / "history.db")
    store = SqlStore.open(f"sqlite:///{tmp_path / 'history.db'}")
    yield store
    store.engine.dispose()


def count(store: SqlStore, table: Any) -> int:
    with store.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def closed(store: SqlStore, ended: float, service: str = "shop", **fields: Any) -> Recovery:
    opened = recovery(service, **fields)
    store.open_recovery(opened, None, [], [])
    done = replace(opened, state=RecoveryState.SUCCEEDED, outcome=Outcome.RESOLVED, finished_at=at(ended), due_at=None)
    stored = store.transition(opened, done)
    assert stored is not None
    return stored


def test_what_decisions_rested_on_silences_and_refusals_go_and_what_people_did_stays(store: SqlStore) -> None:
    opened = recovery()
    store.open_recovery(opened, None, [], [])
    asked = store.transition(opened, opened, approval=Approval(opened.id, at(0), at(9)), decisions=[decision()], basis=_basis(opened, 1))
    assert asked is not None
    store.transition(asked, asked, decisions=[decision(guard="other")], basis=_basis(opened, 50))
    for name, fields in {"over": {"until": at(5)}, "lifted": {"lifted_at": at(5)}, "endless": {}, "recent": {"until": at(60)}}.items():
        values: dict[str, Any] = {"until": None} | fields
        store.put_silence(Silence(name, SilenceKind.SILENCE, at(0), author="a", reason="r", created_at=at(0), **values))
    store.refuse([Refusal("stream", "FAILURE_INVALID", "old", at(1))])
    store.refuse([Refusal("stream", "FAILURE_INVALID", "new", at(90))])
    store.audit("silence_lifted", "alice", {}, at(1))

    pruned = History(store.engine).prune(samples_before=at(20), history_before=at(20), batch=1)

    assert (pruned.bases, pruned.silences, pruned.refused) == (1, 2, 1)
    assert [basis.at for basis in store.bases(at(0), 9)] == [at(50)]
    assert [silence.id for silence in store.silences(at(0))] == ["endless", "recent"]
    assert [refused.reason for refused in History(store.engine).refused_reports()] == ["new"]
    assert count(store, schema.audit) == 2
    assert store.approval(opened.id) is not None


def test_the_history_of_breakers_is_forgotten_like_all_history(store: SqlStore) -> None:
    old, new = (BreakerChange(f"{second}-0", "gateway", "shop", at(second), "closed", "open", "boom", 1, 1, "host:1") for second in (1, 30))
    store.record_changes([old, new])

    assert History(store.engine).prune(samples_before=at(20), history_before=at(20)).breaker_changes == 1
    assert store.breaker_changes("gateway", 10) == [new]


def test_a_storm_is_forgotten_in_short_transactions(store: SqlStore) -> None:
    opened = recovery()
    store.take_in([Report(failure(), at(0), lambda: (opened, ())) for _ in range(230)])
    current = store.open_recovery_of("shop")
    assert current is not None
    store.transition(current, replace(current, state=RecoveryState.FAILED, due_at=None, finished_at=at(1)))
    deleted: list[int] = []
    sql_event.listen(store.engine, "after_cursor_execute", lambda *seen: deleted.append(seen[1].rowcount) if "DELETE" in seen[2] else None)

    pruned = History(store.engine).prune(samples_before=at(9), history_before=at(9), batch=50)

    assert (pruned.recoveries, pruned.failures) == (1, 230)
    assert max(deleted) == 50
    assert count(store, schema.failures) == 0


def test_a_recovery_whose_remedy_is_in_place_keeps_its_reports(store: SqlStore) -> None:
    opened = recovery()
    store.take_in([Report(failure(), at(0), lambda: (opened, ())) for _ in range(3)])
    current = store.open_recovery_of("shop")
    assert current is not None
    put = Mitigation("shop", "degrade", opened.id, at(1), at(900))
    store.transition(current, replace(current, state=RecoveryState.SUCCEEDED, due_at=None, finished_at=at(1)), mitigation=put)

    assert History(store.engine).prune(samples_before=at(9), history_before=at(9)).failures == 0
    assert count(store, schema.failures) == 3


def test_equal_refusals_say_how_often(store: SqlStore) -> None:
    store.refuse([Refusal("stream", "SERVICE_NOT_FOUND", "no service 'x'", at(second), service="x") for second in range(4)])

    [refused] = History(store.engine).refused_reports()

    assert (refused.times, refused.service, refused.at) == (4, "x", at(3))


def test_mean_times_count_verified_recoveries_of_the_period_only(store: SqlStore) -> None:
    for ended in (10, 20):
        closed(store, ended)
    closed(store, 7, "cart")
    closed(store, 900)
    closed(store, 15, dry_run=True)
    closed(store, 15, kind=Kind.SCHEDULED)
    failed = recovery()
    store.open_recovery(failed, None, [], [])
    store.transition(failed, replace(failed, state=RecoveryState.FAILED, finished_at=at(12), due_at=None))

    assert History(store.engine).mean_times(at(5), at(100)) == [MeanTime("cart", 1, 7.0, 7.0), MeanTime("shop", 2, 15.0, 20.0)]


def _basis(of: Recovery, moment: float) -> Basis:
    return Basis(of.id, of.service, at(moment), "v1", {}, ())
