"""Statements straight on the driver: what goes wrong must leave neither a half transaction nor a used-up connection behind."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, bindparam, insert, select
from sqlalchemy.exc import IntegrityError

from recovery.errors import StoreUnavailable
from recovery.models import utcnow
from recovery.store.direct import Transaction
from recovery.store.engine import KEPT_AT_HAND, at_hand, dispose, open_engine
from recovery.store.migrate import migrate
from recovery.store.schema import sweeps
from recovery.store.sql import SqlStore

ADD = insert(sweeps)
KEYS = select(sweeps.c.key).order_by(sweeps.c.key)
WRITE = "BEGIN IMMEDIATE"


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    url = f"sqlite:///{tmp_path / 'history.db'}"
    migrate(url)
    engine = open_engine(url, patience=0.05)
    yield engine
    dispose(engine)


def keys(engine: Engine) -> list[str]:
    with Transaction(engine, "BEGIN") as connection:
        return connection.execute(KEYS).scalars()


def write_and_raise(engine: Engine, error: BaseException) -> None:
    with Transaction(engine, WRITE) as connection:
        connection.execute(ADD, {"key": "one", "at": utcnow()})
        raise error


def test_what_a_block_wrote_is_gone_if_it_raises(engine: Engine) -> None:
    with pytest.raises(ValueError, match="halfway"):
        write_and_raise(engine, ValueError("halfway"))

    assert keys(engine) == []


def test_an_interrupted_connection_is_not_used_again(engine: Engine) -> None:
    with Transaction(engine, WRITE) as connection:
        before = connection._driver

    with pytest.raises(KeyboardInterrupt):
        write_and_raise(engine, KeyboardInterrupt())

    with Transaction(engine, WRITE) as connection:
        assert connection._driver is not before
    assert keys(engine) == []


def test_a_connection_stays_at_hand_for_the_next_transaction(engine: Engine) -> None:
    with Transaction(engine, WRITE) as connection:
        before = connection._driver

    with Transaction(engine, WRITE) as connection:
        assert connection._driver is before


def test_only_a_few_connections_stay_at_hand(engine: Engine) -> None:
    together = Barrier(KEPT_AT_HAND + 2)

    def read() -> None:
        with Transaction(engine, "BEGIN"):
            together.wait(timeout=30)

    with ThreadPoolExecutor(together.parties) as threads:
        for done in [threads.submit(read) for _ in range(together.parties)]:
            done.result()

    assert len(at_hand(engine).connections) == KEPT_AT_HAND


def test_a_forked_child_has_none_of_its_parents_connections_at_hand(engine: Engine) -> None:
    keys(engine)
    ours, theirs = get_context("fork").Pipe()

    child = get_context("fork").Process(target=lambda: theirs.send((len(at_hand(engine).connections), keys(engine))))
    child.start()
    child.join(timeout=60)

    assert ours.recv() == (0, [])
    assert len(at_hand(engine).connections) == 1


def test_disposing_closes_the_connections_at_hand(engine: Engine) -> None:
    with Transaction(engine, "BEGIN") as connection:
        driver = connection._driver

    dispose(engine)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        driver.execute("SELECT 1")
    assert keys(engine) == []


def test_connections_without_a_pool_do_not_stay_open(engine: Engine) -> None:
    single = open_engine(str(engine.url), keep_open=False)

    keys(single)

    assert not at_hand(single).connections


def test_a_statement_that_is_gone_is_not_mistaken_for_a_new_one(engine: Engine) -> None:
    found = []
    for key in ("one", "two"):
        with Transaction(engine, WRITE) as connection:
            connection.execute(insert(sweeps).values(key=key, at=utcnow()))
            found.append(connection.execute(select(sweeps.c.key).where(sweeps.c.key == key)).scalars())

    assert found == [["one"], ["two"]]


def test_a_driver_error_has_the_name_that_sqlalchemy_gives_it_and_no_values(engine: Engine) -> None:
    at = utcnow()

    with pytest.raises(IntegrityError) as caught, Transaction(engine, WRITE) as connection:
        connection.execute(ADD, [{"key": "secret", "at": at}, {"key": "secret", "at": at}])

    assert "secret" not in str(caught.value)
    assert keys(engine) == []


def test_a_locked_database_is_unavailable_and_free_again_afterwards(engine: Engine) -> None:
    other = sqlite3.connect(str(engine.url.database), isolation_level=None)
    other.execute(WRITE)
    with pytest.raises(StoreUnavailable), Transaction(engine, WRITE):
        pass
    other.execute("ROLLBACK")
    other.close()

    with Transaction(engine, WRITE) as connection:
        connection.execute(ADD, {"key": "one", "at": utcnow()})

    assert keys(engine) == ["one"]


def test_a_statement_whose_text_depends_on_its_values_is_refused(engine: Engine) -> None:
    some = select(sweeps.c.key).where(sweeps.c.key.in_(bindparam("of", expanding=True)))

    with pytest.raises(TypeError, match="depends on its values"), Transaction(engine, "BEGIN") as connection:
        connection.execute(some, {"of": ["one"]})


def test_what_is_read_together_is_as_of_one_moment(engine: Engine) -> None:
    store, other = SqlStore(engine), SqlStore(engine)

    with store.together():
        before = store.pulses()
        other.pulse("worker", utcnow(), {})
        within = store.pulses()

    assert before == within == {}
    assert set(store.pulses()) == {"worker"}
