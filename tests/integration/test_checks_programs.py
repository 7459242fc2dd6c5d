"""Checks that run what the operator wrote: commands and Python functions that fail, hang and leave children behind."""

import asyncio
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recovery.models import Category, FailureType
from recovery.ports import Finding
from tests.probing import probe
from tests.support import eventually, is_dead


def python(code: str) -> dict[str, Any]:
    return {"command": [sys.executable, "-c", code]}


@pytest.mark.parametrize(
    ("code", "options", "ok", "message"),
    [
        ("print('OK - fine | a=1')", {}, True, "OK - fine"),
        ("print('low'); raise SystemExit(1)", {}, True, "warning: low"),
        ("print('low'); raise SystemExit(1)", {"warning_fails": True}, False, "warning: low"),
        ("print('bad'); raise SystemExit(2)", {}, False, "critical: bad"),
        ("raise SystemExit(3)", {}, False, "unknown"),
        ("raise SystemExit(77)", {}, False, "exit code 77"),
        ("import os; os.kill(os.getpid(), 9)", {}, False, "ended by signal 9"),
        ("import sys; sys.stderr.write('from stderr')", {}, True, "from stderr"),
        ("import os; print(os.environ['TEA'])", {"env": {"TEA": "green"}}, True, "green"),
        ("print('x' * 3_000_000, flush=True); raise SystemExit(2)", {}, False, "critical: " + "x" * (8 * 1024)),
    ],
)
def test_command_reads_exit_codes_as_nagios_plugins_mean_them(code: str, options: dict[str, Any], ok: bool, message: str) -> None:
    found = probe("command", python(code) | options, seconds=60)

    assert (found.ok, found.message) == (ok, message)


def test_command_runs_in_its_folder(tmp_path: Path) -> None:
    assert probe("command", python("import os; print(os.getcwd())") | {"cwd": str(tmp_path)}).message == str(tmp_path)


def test_a_program_that_does_not_exist_is_told() -> None:
    found = probe("command", {"command": ["no-such-program"]})

    assert (found.ok, found.type) == (False, FailureType.ERROR)
    assert "no-such-program" in found.message


def test_a_command_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "sleep 600 & echo $! > child.pid; trap '' TERM; wait; sleep 600"
    found = probe("command", {"command": ["/bin/sh", "-c", script], "cwd": str(tmp_path)}, seconds=2)

    child = int((tmp_path / "child.pid").read_text())
    assert (found.ok, found.type) == (False, FailureType.TIMEOUT)
    eventually(lambda: is_dead(child))


def test_a_child_that_a_command_left_behind_holds_nothing_up_and_goes(tmp_path: Path) -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"

    began = time.monotonic()
    found = probe("command", python(code), seconds=60)

    assert found.ok
    assert time.monotonic() - began < 45
    child = int(found.message)
    eventually(lambda: is_dead(child))


RELEASE = threading.Event()
CALLS: list[str] = []


def answers(what: object) -> object:
    return what


def raises() -> None:
    raise LookupError("no stock")


async def waits_forever() -> bool:
    await asyncio.Event().wait()
    return True


async def blocks_its_loop() -> bool:
    CALLS.append("blocks_its_loop")
    RELEASE.wait(30)
    return True


def finds() -> Finding:
    return Finding(ok=False, message="2 orders without items", category=Category.DATA_INCONSISTENCY)


@pytest.mark.parametrize(
    ("name", "arguments", "ok", "message"),
    [
        ("answers", {"what": True}, True, ""),
        ("answers", {"what": None}, True, ""),
        ("answers", {"what": ""}, True, ""),
        ("answers", {"what": "queue is stuck"}, False, "queue is stuck"),
        ("answers", {"what": False}, False, f"{__name__}.answers returned False"),
        ("answers", {"what": 3}, False, f"{__name__}.answers returned int; it must return a bool, a text (what is wrong) or a Finding"),
        ("raises", {}, False, "no stock"),
        ("finds", {}, False, "2 orders without items"),
        ("answers", {"wat": 1}, False, "answers() got an unexpected keyword argument 'wat'"),
    ],
)
def test_python_takes_what_the_function_returns(name: str, arguments: dict[str, Any], ok: bool, message: str) -> None:
    found = probe("python", {"function": f"{__name__}.{name}", "arguments": arguments})

    assert (found.ok, found.message) == (ok, message)


@pytest.mark.parametrize("function", ["no.such.module", "os.path.no_such_function", "os.sep"])
def test_a_function_that_cannot_be_loaded_does_not_blame_the_service(function: str) -> None:
    found = probe("python", {"function": function})

    assert (found.ok, found.category) == (False, Category.UNKNOWN)
    assert found.message.startswith(f"cannot load {function}")


def test_an_async_function_that_waits_too_long_is_cancelled() -> None:
    found = [probe("python", {"function": f"{__name__}.waits_forever"}, seconds=0.2) for _ in range(2)]

    assert [(finding.ok, finding.type) for finding in found] == [(False, FailureType.TIMEOUT)] * 2


def test_a_function_that_hangs_is_called_once_and_fails_until_it_returns() -> None:
    options = {"function": f"{__name__}.blocks_its_loop"}
    CALLS.clear()
    RELEASE.clear()

    found = [probe("python", options, seconds=0.2) for _ in range(3)]
    RELEASE.set()

    assert [finding.ok for finding in found] == [False] * 3
    assert "an earlier call has been running" in found[-1].message
    assert CALLS == ["blocks_its_loop"]
    assert eventually(lambda: probe("python", options, seconds=0.2).ok)
