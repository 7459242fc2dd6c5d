"""Steps that take too long are interrupted, wherever they are, and the attempt goes on with what the interruption left."""

import signal
import sqlite3
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest

from recovery.engine.limits import undisturbed, within
from recovery.engine.renewal import kept_alive
from recovery.errors import LeaseLost, StepFailed
from recovery.models import Lease
from recovery.store.memory import MemoryStore
from recovery.store.migrate import migrate
from recovery.store.sql import SqlStore
from tests.rows import T0, recovery
from tests.support import eventually


def test_a_step_is_interrupted_after_its_time() -> None:
    began = time.monotonic()
    with pytest.raises(StepFailed, match=r"nap took longer than 0\.05 s"), within(0.05, "nap"):
        time.sleep(60)
    assert time.monotonic() - began < 30
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_an_interruption_that_is_swallowed_comes_again() -> None:
    def sleep_on() -> None:
        try:
            time.sleep(5)
        except BaseException:  # noqa: BLE001 - as event loops do
            time.sleep(5)

    with patch("recovery.engine.limits.REPEAT", 0.05), pytest.raises(StepFailed), within(0.05, "nap"):
        sleep_on()


def test_a_handler_of_errors_does_not_take_an_interruption_for_one() -> None:
    def endure() -> None:
        while True:
            try:
                time.sleep(5)
            except Exception:  # noqa: BLE001 - what is tested
                continue

    with pytest.raises(StepFailed), within(0.05, "nap"):
        endure()


def test_the_handler_of_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with within(60, "quick"):
        pass
    with pytest.raises(ValueError, match="own"), within(60, "broken"):
        raise ValueError("own")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def is_unlocked(database: Path) -> bool:
    """Say whether somebody else may write."""
    with closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as stranger:
        try:
            stranger.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        stranger.execute("ROLLBACK")
    return True


def test_a_call_of_the_store_is_not_interrupted_in_the_middle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interruption between SQLite's BEGIN and the end of the transaction would lock everybody else out."""
    url = f"sqlite:///{tmp_path / 'history.db'}"
    migrate(url)
    store = SqlStore.open(url)
    opened = store.open_recovery(recovery(), None, [], []).recovery

    def write_on() -> None:
        while True:
            with undisturbed():
                store.request_cancel(opened.id, "again", T0)
            time.sleep(0.0001)

    monkeypatch.setattr("recovery.engine.limits.REPEAT", 0.005)
    monkeypatch.setattr("recovery.engine.limits.SOONEST", 0.005)
    for number in range(200):
        with pytest.raises(StepFailed) as held, within(0.005 + number / 100_000, "guard"):
            write_on()
        assert is_unlocked(tmp_path / "history.db"), held  # `held` keeps what leaked alive

    store.engine.dispose()


def test_a_renewal_that_breaks_is_tried_again() -> None:
    store = MemoryStore()
    lease = store.acquire_lease("shop", "r1", "me", T0, T0 + timedelta(seconds=1))
    assert lease
    renewals: list[float] = []
    renew = store.renew_lease

    def break_first(held: Lease, until: object) -> Lease:
        renewals.append(time.monotonic())
        if len(renewals) == 1:
            raise RuntimeError("driver bug")
        return renew(held, until)  # type: ignore[arg-type]

    with patch.object(store, "renew_lease", break_first), kept_alive(store, lease, 0.03, lambda: T0 + timedelta(hours=1)):
        eventually(lambda: len(renewals) >= 3)
    held = store.lease_of("shop")
    assert held
    assert held.until > lease.until


def test_a_lost_lease_is_told_once_and_not_renewed() -> None:
    store, told = MemoryStore(), threading.Event()
    lease = store.acquire_lease("shop", "r1", "me", T0, T0)
    assert lease
    store.acquire_lease("shop", "r2", "other", T0, T0 + timedelta(hours=1))

    with kept_alive(store, lease, 0.03, lambda: T0, told.set):
        assert told.wait(60)
    with pytest.raises(LeaseLost):
        store.renew_lease(lease, T0)
