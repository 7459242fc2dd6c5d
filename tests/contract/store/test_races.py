"""Several threads and processes at once, on the databases and in memory."""

import multiprocessing
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from recovery.errors import StoreUnavailable
from recovery.models import Answer, Approval, Event, Recovery, RecoveryState, Silence, SilenceKind, new_id
from recovery.ports import Intake, Report, Store
from recovery.store import schema
from recovery.store.engine import open_engine
from recovery.store.sql import SqlStore
from recovery.store.sql.room import values_of
from tests.rows import at, failure, recovery

T = TypeVar("T")


def together(work: Callable[[int], T], workers: int = 8) -> list[T]:
    """Run `work` in that many threads, started as close together as can be."""
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, range(workers)))


def test_of_many_reports_one_opens_and_the_others_merge(store: Store) -> None:
    accepted = together(lambda worker: store.open_recovery(recovery(), failure(occurred_at=at(worker)), [], []))

    intakes = [answer.intake for answer in accepted]
    assert intakes.count(Intake.OPENED) == 1
    assert intakes.count(Intake.MERGED) == 7
    current = store.open_recovery_of("shop")
    assert current is not None
    assert current.failures == 8
    assert {answer.recovery.id for answer in accepted} == {current.id}


def test_one_report_delivered_many_times_counts_once(store: Store) -> None:
    report = failure()

    accepted = together(lambda _worker: store.open_recovery(recovery(), report, [], []))

    assert sorted(answer.intake for answer in accepted) == [Intake.DUPLICATE] * 7 + [Intake.OPENED]
    current = store.open_recovery_of("shop")
    assert current is not None
    assert current.failures == 1


def test_one_report_delivered_for_two_services_counts_once(store: Store) -> None:
    accepted = together(lambda worker: store.open_recovery(recovery(f"service-{worker}"), failure(id="same"), [], []))

    assert [answer.intake for answer in accepted].count(Intake.OPENED) == 1
    assert len(store.open_recoveries()) == 1


def test_of_many_transitions_from_one_version_exactly_one_is_stored(store: Store) -> None:
    opened = recovery()
    store.open_recovery(opened, failure(), [], [])

    results = together(lambda worker: store.transition(opened, replace(opened, reason=f"by {worker}")))

    stored = [result for result in results if result is not None]
    assert len(stored) == 1
    assert store.recovery(opened.id) == stored[0]


def test_of_many_answers_at_once_one_counts_and_everybody_is_told_which(store: Store) -> None:
    for _ in range(10):
        opened = recovery(f"service-{new_id()}")
        store.open_recovery(opened, failure(service=opened.service), [], [])
        asking = replace(opened, state=RecoveryState.AWAITING_APPROVAL)
        store.transition(opened, asking, approval=Approval(opened.id, at(0), at(900)))

        answers = together(partial(answer_in_turn, store, opened.id))

        assert len(set(answers)) == 1
        assert store.approval(opened.id) == answers[0]


def opening(name: str) -> tuple[Recovery, Sequence[Event]]:
    return recovery(name), ()


def answer_in_turn(store: Store, recovery_id: str, worker: int) -> Approval | None:
    return store.answer(recovery_id, list(Answer)[worker % 2], f"person {worker}", "", at(1))


def test_what_a_silence_held_is_woken_while_its_reports_come_in_and_nobody_waits_in_a_circle(store: Store) -> None:
    names = [f"service-{number:03}" for number in range(60)]
    for name in reversed(names):
        opened = recovery(name)
        store.open_recovery(opened, None, [], [])
        store.transition(opened, replace(opened, held_by=SilenceKind.SILENCE, due_at=at(9_000)))

    def work(worker: int) -> None:
        for turn in range(20):
            if worker:
                store.take_in([Report(failure(service=name), at(turn), partial(opening, name)) for name in names])
                continue
            store.put_silence(Silence(f"silence-{turn}", SilenceKind.SILENCE, at(0), None, "ann", "quiet", at(0)))
            store.lift_silence(f"silence-{turn}", "ann", at(1_000 - turn))  # each time all of them are due later

    together(work, 2)

    assert {(row.failures, row.due_at) for row in store.open_recoveries()} == {(21, at(981))}


def test_a_cancellation_and_reports_survive_racing_transitions(store: Store) -> None:
    opened = recovery(due_at=at(1))
    store.open_recovery(opened, failure(), [], [])

    def work(worker: int) -> None:
        if worker == 0:
            store.request_cancel(opened.id, "by hand", at(2))
        elif worker < 4:
            store.open_recovery(recovery(), failure(occurred_at=at(worker)), [], [])
        else:
            current = store.recovery(opened.id)
            assert current is not None
            store.transition(current, replace(current, due_at=at(500 + worker)))

    together(work)

    current = store.recovery(opened.id)
    assert current is not None
    assert (current.cancel_requested, current.failures) == (True, 4)


def claim_until_done(url: str, worker: int) -> list[int]:
    """Take and give up the lease on one service, in a process of its own."""
    store = SqlStore.open(url)
    fences = []
    for turn in range(20):
        lease = store.acquire_lease("shop", "r-1", f"{worker}-{turn}", at(0), at(10))
        if lease is not None:
            fences.append(lease.fence)
            store.release_lease(lease)
    store.engine.dispose()
    return fences


def report_once(url: str, worker: int) -> str:
    store = SqlStore.open(url)
    accepted = store.open_recovery(recovery(), failure(occurred_at=at(worker)), [], [])
    store.engine.dispose()
    return accepted.intake.value


@pytest.mark.slow
def test_processes_share_one_database_without_losing_a_write(sql_url: str) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        per_worker = list(pool.map(claim_until_done, [sql_url] * 3, range(3)))
        intakes = list(pool.map(report_once, [sql_url] * 6, range(6)))

    every = sorted(fence for fences in per_worker for fence in fences)
    assert every == list(range(1, len(every) + 1))
    assert sorted(intakes) == ["merged"] * 5 + ["opened"]


def test_the_database_itself_refuses_a_second_open_recovery(sql_store: SqlStore) -> None:
    with sql_store.engine.begin() as connection:
        connection.execute(insert(schema.recoveries), values_of(recovery()))
        connection.execute(insert(schema.recoveries), values_of(recovery(state=RecoveryState.FAILED)))

    with pytest.raises(IntegrityError), sql_store.engine.begin() as connection:
        connection.execute(insert(schema.recoveries), values_of(recovery(state=RecoveryState.IN_PROGRESS)))


def test_the_database_itself_refuses_rows_without_their_recovery(sql_store: SqlStore) -> None:
    row = {**failure().model_dump(exclude={"id"}), "failure_id": "f", "recovery_id": "nobody"}

    with pytest.raises(IntegrityError), sql_store.engine.begin() as connection:
        connection.execute(insert(schema.failures), row)


def test_a_forked_child_uses_connections_of_its_own(sql_store: SqlStore) -> None:
    sql_store.acquire_lease("shop", "r-1", "parent", at(0), at(10))
    read, write = os.pipe()

    pid = os.fork()
    if pid == 0:
        answer = b"failed"
        try:
            lease = sql_store.acquire_lease("cart", "r-2", "child", at(0), at(10))
            answer = b"ok" if lease is not None and lease.fence == 1 else b"wrong"
            sql_store.engine.dispose()
        finally:
            os.write(write, answer)
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        assert answers.read() == b"ok"
    os.waitpid(pid, 0)

    assert sql_store.lease_of("cart") is not None
    assert sql_store.acquire_lease("shop", "r-1", "parent", at(11), at(20)) is not None


def test_no_writer_waits_for_another_for_good(sql_store: SqlStore) -> None:
    question = "PRAGMA busy_timeout" if sql_store.engine.dialect.name == "sqlite" else "SHOW lock_timeout"

    for _turn in range(2):  # also after the pool took the connection back
        with sql_store.engine.connect() as connection:
            assert connection.exec_driver_sql(question).scalar() in {30_000, "30s"}


def test_a_database_that_is_locked_or_gone_is_unavailable(tmp_path: Path, migrated_file: Path) -> None:
    path = tmp_path / "locked.db"
    path.write_bytes(migrated_file.read_bytes())
    store = SqlStore(open_engine(f"sqlite:///{path}?timeout=0.05"))

    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.acquire_lease("shop", "r-1", "worker", at(0), at(10))
    store.engine.dispose()

    with pytest.raises(StoreUnavailable):
        SqlStore.open(f"sqlite:///{tmp_path}/missing/history.db").open_recoveries()
    with pytest.raises(StoreUnavailable):
        SqlStore.open("postgresql://nobody@127.0.0.1:1/nothing").open_recoveries()
