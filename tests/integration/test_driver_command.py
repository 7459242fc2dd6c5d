"""The `command` driver where the operator's commands are slow, wrong or silent."""

import time
from pathlib import Path

import pytest
from pydantic import JsonValue, ValidationError

from recovery.errors import DriverError
from recovery.models import JsonObject
from strategies.drivers.abilities import IdentityUnknown, Restarts, lack_of
from strategies.drivers.command import CommandOptions
from tests.contract.driver_rigs import declare
from tests.support import eventually, is_dead


def sh(script: str) -> list[JsonValue]:
    return ["/bin/sh", "-c", script]


def commands(home: Path, **options: object) -> JsonObject:
    return {"start": sh("touch up"), "stop": sh("rm up"), "status": sh("cat up"), "cwd": str(home), "timeout": 30, **options}  # type: ignore[dict-item]


def test_a_failing_command_is_told_with_exit_code_and_last_words(short_dir: Path) -> None:
    driver = declare("command", commands(short_dir, start=sh("echo no license >&2; exit 4")))

    with pytest.raises(DriverError, match="the start command of 'shop' failed with exit code 4: no license"):
        driver.start()


def test_a_command_that_hangs_is_killed_with_its_children(short_dir: Path) -> None:
    driver = declare("command", commands(short_dir, start=sh("sleep 600 & echo $! > child; wait"), timeout=1.5))
    began = time.monotonic()

    with pytest.raises(DriverError, match=r"did not end within 1\.5 s"):
        driver.start()

    assert time.monotonic() - began < 30.0
    child = int((short_dir / "child").read_text())
    eventually(lambda: is_dead(child))


def test_a_command_that_leaves_a_daemon_behind_does_not_hang(short_dir: Path) -> None:
    driver = declare("command", commands(short_dir, start=sh("echo up > up; sleep 5 & echo $! > daemon")))

    assert driver.start() == {"status": "up"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"status": ["no-such-program"]}, "cannot run 'no-such-program': No such file or directory"),
        ({"cwd": "/no/such/folder"}, "No such file or directory (working directory /no/such/folder)"),
    ],
)
def test_a_command_that_cannot_run_says_why(short_dir: Path, options: dict[str, object], sentence: str) -> None:
    driver = declare("command", commands(short_dir, **options))

    with pytest.raises(DriverError) as caught:
        driver.start()

    assert sentence in caught.value.message


def test_a_service_that_does_not_stop_is_told(short_dir: Path) -> None:
    driver = declare("command", commands(short_dir, stop=["true"]))
    driver.start()

    with pytest.raises(DriverError, match=r"'shop' still runs 0\.2 s after its stop command"):
        driver.stop(0.2)


def test_a_service_that_does_not_come_up_is_told(short_dir: Path) -> None:
    driver = declare("command", commands(short_dir, start=["true"], timeout=1.5))

    with pytest.raises(DriverError, match=r"'shop' does not run 1\.5 s after its start command"):
        driver.start()


def test_without_a_status_command_nobody_knows_what_runs(short_dir: Path) -> None:
    driver = declare("command", commands(short_dir, status=[]))

    with pytest.raises(IdentityUnknown, match="has no 'status' command"):
        driver.identity()


def test_a_driver_with_only_a_restart_command_restarts_in_one_go(short_dir: Path) -> None:
    driver = declare("command", {"restart": sh("date +%s%N > up"), "status": sh("cat up"), "cwd": str(short_dir)})
    assert isinstance(driver, Restarts)

    first, second = driver.restart(), driver.restart()

    assert first != second
    assert lack_of(driver, "restart") is None
    assert lack_of(driver, "reload") == "its command driver has no 'reload' command"


@pytest.mark.parametrize(
    "options", [{}, {"status": ["true"]}, {"start": ["true"]}, {"stop": ["true"], "restart": ["true"]}, {"start": [""], "stop": ["x"]}]
)
def test_commands_that_cannot_work_together_are_refused(options: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        CommandOptions.model_validate(options)
