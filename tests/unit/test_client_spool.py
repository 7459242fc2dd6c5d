"""Reports on disk: bounded, private, first in first out."""

import os
import stat
from pathlib import Path

import pytest

from recovery.client.spool import Spool

URL = "redis://:secret@host/0"


def test_reports_come_back_in_order_and_once(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", URL)
    spool.add([b"1", b"2"])
    spool.add([b"3"])

    numbered = spool.oldest(2)
    spool.remove([number for number, _ in numbered])

    assert [report for _, report in numbered] == [b"1", b"2"]
    assert [report for _, report in Spool(tmp_path / "spool", URL).oldest(9)] == [b"3"]
    assert spool.count() == 1


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", URL)

    assert (spool.oldest(1), spool.count()) == ([], 0)
    assert not (tmp_path / "spool").exists()


def test_beyond_its_number_the_oldest_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, max_reports=3)

    assert spool.add([b"1", b"2"]) == 0
    assert spool.add([b"3", b"4", b"5"]) == 2

    assert [report for _, report in spool.oldest(9)] == [b"3", b"4", b"5"]


def test_beyond_its_bytes_the_oldest_go(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL, max_bytes=100)

    assert spool.add([b"a" * 60]) == 0
    assert spool.add([b"b" * 60]) == 1

    assert [report[:1] for _, report in spool.oldest(9)] == [b"b"]


def test_the_folder_is_for_this_user_only(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    spool = Spool(folder, URL)

    spool.add([b"1"])

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 12_345, 12_345)

    with pytest.raises(PermissionError, match="belongs to somebody else"):
        Spool(folder, URL).add([b"1"])


def test_another_platform_has_another_file_and_a_new_password_has_not(tmp_path: Path) -> None:
    files = {Spool(tmp_path, url).file for url in (URL, "redis://:changed@host/0", "redis://host/1")}

    assert len(files) == 2


def test_only_one_at_a_time_delivers(tmp_path: Path) -> None:
    spool, other = Spool(tmp_path, URL), Spool(tmp_path, URL)
    spool.add([b"1"])

    with spool.drainer() as first, other.drainer() as second:
        assert (first, second) == (True, False)
    with other.drainer() as free:
        assert free


def test_a_file_that_is_no_database_is_an_os_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path, URL)
    spool.file.write_bytes(b"garbage" * 1000)

    with pytest.raises(OSError, match="DatabaseError"):
        spool.add([b"1"])
