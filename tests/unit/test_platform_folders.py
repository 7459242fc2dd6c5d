import os
import stat
from pathlib import Path

import pytest

from recovery.errors import ConfigurationError
from workers.platform.folders import FolderLock, private_folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_folder_is_private(tmp_path: Path) -> None:
    assert mode(private_folder(tmp_path / "a" / "b")) == 0o700


def test_a_folder_that_others_can_read_is_made_private(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)

    private_folder(folder)

    assert mode(folder) == 0o700


def test_a_link_laid_by_somebody_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    trap = tmp_path / "trap"
    trap.symlink_to(tmp_path / "theirs")

    with pytest.raises(ConfigurationError, match="is a symbolic link"):
        private_folder(trap)


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="is not a folder"):
        private_folder(tmp_path / "file")


def test_a_folder_that_everybody_may_write_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)

    with pytest.raises(ConfigurationError, match="may be written by everybody"):
        private_folder(folder)
    assert mode(folder) == 0o1777


def test_a_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = private_folder(tmp_path / "ours")
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)

    with pytest.raises(ConfigurationError, match=f"belongs to another user .id {mine}."):
        private_folder(folder)


def test_a_folder_that_cannot_be_made_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match=r"cannot be used: .*RECOVERY_DATA_DIR"):
        private_folder(tmp_path / "file" / "below" / "it")


def test_a_lock_has_one_holder_and_names_it(tmp_path: Path) -> None:
    first, second = FolderLock(tmp_path / "lock"), FolderLock(tmp_path / "lock")

    assert first.acquire()
    assert not second.acquire()
    assert second.holder() == os.getpid()

    first.release()
    assert second.holder() is None
    assert second.acquire()
