"""`recovery check` tells what would fail at the first write, programs that are not there, and a file that declares nothing."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from redis import Redis

from tests.support import ValkeyServer, eventually
from workers.cli import recovery as command_line

Found = dict[str, tuple[str, str]]
Check = Callable[..., Found]


@pytest.fixture
def valkey(short_dir: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(short_dir)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def check(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Returns result and detail of each line, by what was looked at."""
    file = short_dir / "recovery.toml"
    file.write_text("[services.web]\nmanaged = false\n")
    monkeypatch.setenv("RECOVERY_CONFIG", str(file))
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(short_dir / "data"))

    def run(code: int, toml: str | None = None, redis: str = "") -> Found:
        if toml is not None:
            file.write_text(toml)
        if redis:
            monkeypatch.setenv("RECOVERY_REDIS_URL", redis)
        result = CliRunner().invoke(command_line, ["check", "--json"], prog_name="recovery")
        assert result.exit_code == code, result.output
        return {line["what"]: (line["result"], line["detail"]) for line in json.loads(result.stdout)["lines"]}

    return run


def test_a_server_that_cannot_save_is_wrong_although_it_answers(check: Check, valkey: ValkeyServer) -> None:
    with Redis.from_url(valkey.url) as client:
        assert check(0, redis=valkey.url)["redis"][0] == "ok"
        (valkey.home / "dump.rdb").mkdir()  # what it writes cannot take this name, as on a full disk
        client.config_set("save", "3600 1")
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")

        result, detail = check(5)["redis"]

        assert result == "wrong"
        assert detail.startswith("answers, but takes no writes: MISCONF")


def test_a_server_without_memory_is_wrong_and_the_look_leaves_no_key(check: Check, valkey: ValkeyServer) -> None:
    with Redis.from_url(valkey.url) as client:
        check(0, redis=valkey.url)
        client.config_set("maxmemory", "1")

        result, detail = check(5)["redis"]

        assert (result, "takes no writes" in detail) == ("wrong", True)
        assert client.keys() == []


def test_a_full_disk_is_wrong_for_the_data_folder_and_the_database(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(0)["data"][0] == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=2_500_000))

    found = check(5)

    assert {what: found[what][0] for what in ("data", "database")} == {"data": "wrong", "database": "wrong"}
    assert found["data"][1].startswith("the disk is full: 2.5 MB are free in ")


def test_missing_programs_are_wrong_each_with_its_place(check: Check) -> None:
    driver = '[services.web.driver]\ntype = "process"\npidfile = "web.pid"\ncommand = ["webd"]\n'
    probe = '[[services.web.checks]]\ntype = "command"\ncommand = ["bin/look"]\n'

    found = check(1, "[services.web]\n" + driver + probe)

    assert found["driver"] == ("wrong", found["driver"][1])
    assert found["driver"][1].startswith("cannot run 'webd': no such program in the PATH")
    assert found["program"][0] == "wrong"
    assert found["program"][1].startswith("cannot run 'bin/look': ")
    assert found["program"][1].endswith("/bin/look does not exist")


def test_a_file_without_services_is_a_warning(check: Check) -> None:
    assert check(0, "")["file"] == ("warning", "recovery.toml: declares no service, so nothing is watched")
