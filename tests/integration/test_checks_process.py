"""Checks of processes and of the host: killed, frozen and zombie processes, memory, disk, processor."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from recovery.models import Category
from tests.probing import probe
from tests.support import eventually, freeze


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", f"marker={tmp_path}"])
    (tmp_path / "it.pid").write_text(str(process.pid))
    yield process
    process.kill()
    process.wait()


def state_of(process: subprocess.Popen[bytes]) -> str:
    return psutil.Process(process.pid).status()


def test_process_tells_running_stopped_resumed_and_dead_apart(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    options = {"pidfile": str(tmp_path / "it.pid")}
    assert probe("process", options).details["pids"] == [sleeper.pid]

    freeze(sleeper.pid)
    assert probe("process", options).message == f"process {sleeper.pid} is stopped (as by SIGSTOP)"

    sleeper.send_signal(signal.SIGCONT)
    eventually(lambda: state_of(sleeper) != psutil.STATUS_STOPPED)
    assert probe("process", options).ok

    sleeper.kill()
    eventually(lambda: state_of(sleeper) == psutil.STATUS_ZOMBIE)
    assert probe("process", options).message == f"process {sleeper.pid} is a zombie"

    sleeper.wait()
    assert "is gone" in probe("process", options).message


def test_a_pidfile_older_than_the_process_it_names_is_stale(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    pidfile = tmp_path / "it.pid"
    os.utime(pidfile, (time.time() - 3_600, time.time() - 3_600))

    found = probe("process", {"pidfile": str(pidfile)})

    assert not found.ok
    assert "its id was given to another program" in found.message


@pytest.mark.parametrize("text", ["", "shop", "-1", "0", "12ab"])
def test_a_pidfile_without_a_pid_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "it.pid").write_text(text)

    assert "does not begin with a process id" in probe("process", {"pidfile": str(tmp_path / "it.pid")}).message


def test_a_missing_pidfile_or_an_impossible_pid_means_not_running(tmp_path: Path) -> None:
    (tmp_path / "it.pid").write_text("9999999999")

    assert "is gone" in probe("process", {"pidfile": str(tmp_path / "it.pid")}).message
    assert "there is no pidfile" in probe("process", {"pidfile": str(tmp_path / "absent.pid")}).message


def test_process_finds_by_command_line_and_counts(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    options = {"match": f"marker={tmp_path}$"}

    assert probe("process", options).details["pids"] == [sleeper.pid]
    assert probe("process", options | {"min_count": 2}).message == "1 processes match, wanted at least 2"
    assert probe("process", {"match": "no such program anywhere$"}).message.startswith("no process matches")


def test_memory_counts_children_too(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(600)"
    child = "x = bytearray(80_000_000); print(flush=True); import time; time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", script, child], stdout=subprocess.PIPE, start_new_session=True) as parent:
        try:
            assert parent.stdout is not None
            parent.stdout.readline()
            (tmp_path / "it.pid").write_text(str(parent.pid))
            options = {"pidfile": str(tmp_path / "it.pid"), "max_bytes": "60MiB"}

            family, alone = probe("memory", options), probe("memory", options | {"children": False})
        finally:
            os.killpg(parent.pid, signal.SIGKILL)

    assert (family.ok, family.category) == (False, Category.MEMORY_PRESSURE)
    assert alone.ok, alone.message


@pytest.mark.parametrize("kind", ["memory", "cpu"])
def test_a_process_that_is_gone_is_unavailable_not_under_pressure(kind: str, tmp_path: Path) -> None:
    found = probe(kind, {"pidfile": str(tmp_path / "absent.pid")})

    assert (found.ok, found.category) == (False, Category.SERVICE_UNAVAILABLE)


def test_the_host_can_be_measured() -> None:
    memory = probe("memory", {"max_percent": 0.001})
    disk = probe("disk", {"path": "/", "max_percent": 100})
    cpu = probe("cpu", {"max_percent": 100, "window": 0.1})

    assert (memory.ok, memory.category) == (False, Category.MEMORY_PRESSURE)
    assert disk.ok, disk.message
    assert cpu.ok, cpu.message
    assert isinstance(cpu.details["percent"], float)
    assert 0 <= cpu.details["percent"] <= 100
