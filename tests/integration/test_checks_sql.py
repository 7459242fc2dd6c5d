"""SQL checks against real SQLite files: sound, scribbled on, emptied, locked."""

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from recovery.detect.checks import check_kinds
from recovery.models import Category
from tests.probing import probe


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "shop data?.db"
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE items (name TEXT, price INT)")
    database.executemany("INSERT INTO items VALUES (?, ?)", [(f"tea {number}" * 20, number) for number in range(2_000)])
    database.execute("CREATE INDEX by_price ON items (price)")
    database.commit()
    database.close()
    return file


def test_an_sqlite_file_that_is_intact_passes_and_is_not_touched(data: Path) -> None:
    before = (data.read_bytes(), data.stat().st_mtime_ns, sorted(data.parent.iterdir()))

    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "expect": 2_000, "integrity": "full"})

    assert found.ok, found.message
    assert (data.read_bytes(), data.stat().st_mtime_ns, sorted(data.parent.iterdir())) == before


@pytest.mark.parametrize("integrity", [True, "quick", "full"])
def test_a_scribbled_page_is_found_by_integrity_even_where_the_query_passes(data: Path, integrity: bool | str) -> None:
    with data.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(os.urandom(4096))

    blind = probe("sql", {"file": str(data), "query": "SELECT 1"})
    found = probe("sql", {"file": str(data), "query": "SELECT 1", "integrity": integrity})

    assert blind.ok
    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)
    assert "corrupt" in found.message


@pytest.mark.parametrize("integrity", [True, False])
def test_a_file_that_is_no_database_any_more_is_inconsistent_data(data: Path, integrity: bool) -> None:
    data.write_bytes(os.urandom(100_000))

    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "integrity": integrity})

    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)


def test_a_missing_file_is_found_and_not_created(data: Path) -> None:
    data.unlink()

    plain = probe("sql", {"file": str(data)})
    guarded = probe("sql", {"file": str(data), "integrity": True})

    assert (plain.ok, plain.category, guarded.category) == (False, Category.DATABASE, Category.DATA_INCONSISTENCY)
    assert not data.exists()


def test_an_emptied_file_does_not_pass_for_a_sound_empty_database(data: Path) -> None:
    data.write_bytes(b"")

    found = probe("sql", {"file": str(data), "integrity": True})

    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)
    assert found.message.endswith("is empty")


def test_another_answer_than_expected_is_inconsistent_data_and_an_sql_error_is_not(data: Path) -> None:
    kind = check_kinds()["sql"]

    wrong = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "expect": 1})
    error = probe("sql", {"file": str(data), "query": "SELECT * FROM absent"})
    write = probe("sql", {"file": str(data), "query": "DELETE FROM items"})

    assert (wrong.category, wrong.message) == (Category.DATA_INCONSISTENCY, "the query returned '2000', wanted '1'")
    assert (error.category or kind.category, error.message) == (Category.DATABASE, "no such table: absent")
    assert "readonly" in write.message


def test_an_sqlite_url_with_an_absolute_path_is_the_same_as_file(data: Path) -> None:
    plain = data.rename(data.with_name("plain.db"))
    plain.write_bytes(os.urandom(10_000))

    found = probe("sql", {"url": f"sqlite:///{plain}", "query": "SELECT count(*) FROM items", "integrity": True})

    assert (found.ok, found.category) == (False, Category.DATA_INCONSISTENCY)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "give either url or file"),
        ({"url": "sqlite:///shop.db"}, 'write file = "shop.db"'),
        ({"url": "sqlite://"}, "must name a file"),
        ({"url": "nonsense"}, "is not an SQLAlchemy URL"),
        ({"url": "nosuchdb://host/x"}, "is not an SQLAlchemy URL of a known database"),
        ({"url": "postgresql://host/shop", "integrity": True}, "integrity is for SQLite"),
    ],
)
def test_sql_options_that_make_no_sense_are_refused_in_words(options: dict[str, Any], said: str) -> None:
    assert said in probe("sql", options).message


def test_a_database_in_wal_mode_with_an_open_writer_passes(data: Path) -> None:
    database = sqlite3.connect(data)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("INSERT INTO items VALUES ('new', 1)")
    database.commit()

    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items", "expect": 2_001, "integrity": True})

    database.close()
    assert found.ok, found.message


def test_a_locked_database_fails_within_the_timeout(data: Path) -> None:
    database = sqlite3.connect(data)
    database.execute("BEGIN EXCLUSIVE")

    began = time.monotonic()
    found = probe("sql", {"file": str(data), "query": "SELECT count(*) FROM items"}, seconds=0.3)

    database.close()
    assert not found.ok
    assert time.monotonic() - began < 10
