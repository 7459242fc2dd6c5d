"""Reload without restart: what is valid comes into force, what is not is refused once and loudly."""

import logging
import os
import threading
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

from recovery.config.kinds import Kinds
from recovery.config.load import Loaded
from recovery.config.source import FleetSource
from recovery.detect.checks.command import CommandOptions
from recovery.errors import ConfigurationError


class Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


KINDS = Kinds(checks={"memory": Options, "command": CommandOptions}, drivers={}, strategies={"degrade": Options})
BROKEN = "[services.web"


def declaring(*services: str) -> str:
    return "".join(f"[services.{name}]\nmanaged = false\n" for name in services)


class Watched:
    """A source on a file of its own, with what it told."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "recovery.toml"
        self.copy = folder / "data" / "accepted.toml"
        self.accepted: list[Loaded] = []
        self.refused: list[ConfigurationError] = []
        self.source = self.again()

    def again(self) -> FleetSource:
        return FleetSource(self.file, self.copy, KINDS, on_accepted=self.accepted.append, on_refused=self.refused.append)

    def names(self) -> list[str]:
        return list(self.source.current().services)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_the_file_comes_into_force_and_is_parsed_once(watched: Watched) -> None:
    watched.file.write_text(declaring("web"))

    first = watched.source.current()

    assert watched.source.current() is first
    assert len(watched.accepted) == 1


def test_a_changed_file_is_taken_over_even_if_size_and_time_stamp_are_the_same(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recovery.config.source.SETTLED_AFTER_NS", 3600 * 10**9)  # the file stays young, however slow the machine is
    watched.file.write_text(declaring("web"))
    before = watched.file.stat()
    assert watched.names() == ["web"]

    watched.file.write_text(declaring("api"))
    os.utime(watched.file, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert watched.names() == ["api"]


def test_an_old_unchanged_file_is_not_read_again(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.file.write_text(declaring("web"))
    os.utime(watched.file, (1_000_000_000, 1_000_000_000))
    watched.source.current()

    monkeypatch.setattr("recovery.config.source.read_text", lambda _path: pytest.fail("read again"))

    assert watched.names() == ["web"]


def test_an_invalid_file_is_refused_once_per_content_and_the_old_one_stays(watched: Watched) -> None:
    watched.file.write_text(declaring("web"))
    watched.source.current()

    watched.file.write_text(BROKEN)
    names = [watched.names(), watched.names()]
    watched.file.write_text(BROKEN + "x")
    names.append(watched.names())

    assert names == [["web"]] * 3
    assert len(watched.refused) == 2


def test_a_mended_file_comes_into_force(watched: Watched) -> None:
    watched.file.write_text(declaring("web"))
    watched.source.current()
    watched.file.write_text(BROKEN)
    watched.source.current()

    watched.file.write_text(declaring("web", "api"))

    assert watched.names() == ["web", "api"]


@pytest.mark.parametrize("emptied", ["", "\n", "[platform]\ncooldown = 5\n", "[services]\n"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_that_was_emptied_is_refused_until_it_is_written(watched: Watched, emptied: str, restarted: bool) -> None:
    watched.file.write_text(declaring("web"))
    watched.source.current()
    source = watched.again() if restarted else watched.source

    watched.file.write_text(emptied)
    fleets = [source.current(), source.current()]
    watched.file.write_text(declaring("web", "api"))

    assert [list(fleet.services) for fleet in fleets] == [["web"], ["web"]]
    (refused,) = watched.refused
    assert "recovery.toml: declares no service" in refused.message
    assert str(watched.copy) in refused.message
    assert list(source.current().services) == ["web", "api"]


def test_a_first_file_without_services_is_accepted_with_a_warning(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.file.write_text("")

    assert watched.names() == []
    assert "recovery.toml: declares no service" in caplog.text
    assert watched.refused == []


def test_a_version_is_announced_by_the_first_process_that_takes_it(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    watched.file.write_text(declaring("web"))

    for source in (watched.source, watched.again(), watched.again()):
        source.current()
    first = caplog.text.count("is in force")
    watched.file.write_text(declaring("api"))
    for source in (watched.source, watched.again()):
        source.current()

    assert first == 1
    assert caplog.text.count("is in force") == 2


def test_a_program_that_this_machine_lacks_is_told_at_the_start(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.file.write_text('[services.web]\n[[services.web.checks]]\ntype = "command"\ncommand = ["no-such-program"]\n')

    watched.source.current()

    assert "recovery.toml: services.web.checks[0].command: cannot run 'no-such-program': no such program in the PATH" in caplog.text


def test_a_file_that_vanishes_leaves_the_fleet_in_force(watched: Watched) -> None:
    watched.file.write_text(declaring("web"))
    watched.source.current()

    watched.file.unlink()

    assert [watched.names(), watched.names()] == [["web"], ["web"]]
    assert ["does not exist" in error.message for error in watched.refused] == [True]


@pytest.mark.parametrize("break_it", [lambda file: file.write_text(BROKEN), lambda file: file.unlink()])
def test_a_new_process_works_on_with_the_accepted_copy(watched: Watched, break_it: object) -> None:
    watched.file.write_text(declaring("web"))
    watched.source.current()
    break_it(watched.file)  # type: ignore[operator]

    fleet = watched.again().current()

    assert list(fleet.services) == ["web"]
    assert len(watched.refused) == 1


def test_the_copy_is_private_and_leaves_no_temporary_file(watched: Watched) -> None:
    watched.file.write_text(declaring("web"))

    watched.source.current()

    assert watched.copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in watched.copy.parent.iterdir()] == ["accepted.toml"]


def test_without_file_and_copy_the_error_says_how_to_begin(watched: Watched) -> None:
    with pytest.raises(ConfigurationError, match="recovery init"):
        watched.source.current()


def test_a_broken_file_without_copy_is_an_error_each_time(watched: Watched) -> None:
    watched.file.write_text(BROKEN)

    for _ in range(2):
        with pytest.raises(ConfigurationError, match="not valid TOML"):
            watched.source.current()


def test_a_copy_that_cannot_be_kept_does_not_stop_the_fleet(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.file.write_text(declaring("web"))
    watched.copy.parent.write_text("a file where the folder should be")

    assert watched.names() == ["web"]
    assert "no copy of the accepted configuration" in caplog.text


def test_threads_share_one_reload(watched: Watched) -> None:
    watched.file.write_text(declaring("web"))
    threads = [threading.Thread(target=watched.source.current) for _ in range(16)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(watched.accepted) == 1
