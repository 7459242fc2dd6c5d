"""The `process` driver on the details that decide at three in the morning: detachment, children, reused pids, clear errors."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from recovery.errors import DriverError
from recovery.models import JsonObject
from recovery.ports import Driver
from tests.contract.driver_rigs import ProcessRig, declare
from tests.support import eventually


@pytest.fixture
def rig(short_dir: Path) -> Iterator[ProcessRig]:
    rig = ProcessRig(short_dir)
    yield rig
    rig.close()


def variant(rig: ProcessRig, **options: object) -> Driver:
    changed: JsonObject = {**rig.options, **options}  # type: ignore[dict-item]
    return declare("process", changed)


def up(rig: ProcessRig, driver: Driver | None = None) -> int:
    before = rig.starts()
    (driver or rig.driver).start()
    eventually(lambda: rig.starts() > before, message=rig.log)
    rig.wait_until_up(rig.port)
    return rig.pid()


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def command_of(pid: int) -> str:
    try:
        return "" if gone(pid) else " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_the_service_is_no_child_of_the_worker_and_leads_a_session_of_its_own(rig: ProcessRig) -> None:
    pid = up(rig)

    assert psutil.Process(pid).ppid() != os.getpid()
    assert os.getsid(pid) == pid
    assert rig.pidfile.read_text().strip() == str(pid)


def test_the_service_inherits_no_open_file_and_reads_nothing(rig: ProcessRig) -> None:
    with (rig.home / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        pid = up(rig)

    names = {os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}  # noqa: PTH115, PTH208
    assert os.readlink(f"/proc/{pid}/fd/0") == "/dev/null"  # noqa: PTH115
    assert not any("secret" in name or "lock" in name for name in names)


def test_the_service_does_not_inherit_the_workers_variables(rig: ProcessRig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CELERY_LOG_LEVEL", "REMAP_SIGTERM", "FORKED_BY_MULTIPROCESSING", "_MP_FORK_LOGLEVEL_"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("LANG", "C.UTF-8")

    pid = up(rig, variant(rig, env={"SHOP_COLOR": "green"}))

    environment = psutil.Process(pid).environ()
    assert environment["SHOP_COLOR"] == "green"
    assert environment["LANG"] == "C.UTF-8"
    assert not [name for name in environment if name.startswith(("CELERY", "REMAP", "FORKED", "_MP_"))]


def test_signals_that_the_worker_ignores_or_blocks_reach_the_service(rig: ProcessRig) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        up(rig)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGTERM, before)

    result = rig.driver.stop(60.0)

    assert result["forced"] is False
    assert rig.wrote("ended")


@pytest.mark.parametrize("flags", [("--children",), ("--children", "--stubborn")])
def test_a_stop_ends_the_children_too(short_dir: Path, flags: tuple[str, ...]) -> None:
    rig = ProcessRig(short_dir, *flags)
    up(rig)
    child = int((rig.home / "children").read_text())

    rig.driver.stop(0.3)

    assert gone(child)


def test_children_of_a_killed_service_are_ended_before_the_next_start(short_dir: Path) -> None:
    rig = ProcessRig(short_dir, "--children")
    pid = up(rig)
    child = int((rig.home / "children").read_text())
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: rig.driver.identity() is None)
    assert not gone(child)

    result = rig.driver.stop(1.0)

    assert result["killed"] == 1
    assert gone(child)


def test_a_pid_that_was_given_to_somebody_else_is_not_touched(rig: ProcessRig) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        try:
            rig.pidfile.write_text(str(stranger.pid))
            os.utime(rig.pidfile, (1_000_000_000, 1_000_000_000))

            assert rig.driver.identity() is None
            rig.driver.stop(0.1)

            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_an_own_instance_is_recognized_although_the_clock_was_set(rig: ProcessRig) -> None:
    up(rig)

    os.utime(rig.pidfile, (1_000_000_000, 1_000_000_000))

    assert rig.driver.identity() is not None


@pytest.mark.parametrize("text", ["", "nonsense", "-1", "0", "99999999999999999999", "4194305"])
def test_a_pidfile_that_names_nothing_counts_as_not_running(rig: ProcessRig, text: str) -> None:
    rig.pidfile.write_text(text)

    assert rig.driver.identity() is None
    up(rig)


def test_a_service_that_somebody_else_started_is_driven_by_its_pidfile(rig: ProcessRig) -> None:
    command = [str(part) for part in rig.options["command"]]  # type: ignore[union-attr]
    with subprocess.Popen(command, cwd=rig.home) as process:
        rig.pidfile.write_text(f"{process.pid}\n")
        eventually(rig.starts)
        rig.wait_until_up(rig.port)

        rig.driver.stop(60.0)

        assert rig.wrote("ended")


def test_of_many_starts_at_once_one_wins(rig: ProcessRig) -> None:
    refused: list[str] = []

    def start() -> None:
        try:
            declare("process", rig.options).start()
        except DriverError as error:
            refused.append(error.message)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(refused) == 4
    eventually(rig.starts)
    rig.wait_until_up(rig.port)
    assert rig.starts() == 1


def test_an_exit_right_after_the_start_is_told_with_the_end_of_the_log(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("strategies.drivers.process.FIRST_BREATH", 30.0)  # it ends at once, as soon as the machine lets it
    rig = ProcessRig(short_dir)
    log = rig.home / "shop.log"
    log.write_text("an old complaint\n")

    with pytest.raises(DriverError, match="exited right after its start: no such table") as caught:
        variant(rig, command=["/bin/sh", "-c", "echo no such table >&2; exit 3"]).start()

    assert "old complaint" not in caught.value.message


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"command": ["no-such-program"]}, "cannot execute 'no-such-program': No such file"),
        ({"command": ["/etc/passwd"]}, "cannot execute '/etc/passwd': Permission denied"),
        ({"cwd": "/no/such/folder"}, "cannot enter the working directory /no/such/folder: No such file"),
        ({"user": "nobody-at-all"}, "cannot become user 'nobody-at-all'"),
        ({"pidfile": "/proc/nowhere/shop.pid", "log": "/tmp"}, "cannot make the folder /proc/nowhere"),
        ({"log": "/"}, "cannot open the log /"),
    ],
)
def test_a_start_that_cannot_work_says_why_in_one_sentence(rig: ProcessRig, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(DriverError) as caught:
        variant(rig, **options).start()

    assert sentence in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_service_runs_as_the_declared_user(rig: ProcessRig) -> None:
    rig.home.chmod(0o777)

    identity = variant(rig, command=["/bin/sleep", "60"], user="nobody").start()

    process = psutil.Process(int(str(identity["pid"])))
    assert process.username() == "nobody"
    assert process.environ()["USER"] == "nobody"


def test_a_reload_that_would_kill_the_service_is_refused(short_dir: Path) -> None:
    rig = ProcessRig(short_dir, "--mute")
    up(rig)
    try:
        with pytest.raises(DriverError, match="does not handle SIGHUP"):
            rig.driver.reload()

        assert rig.driver.identity() is not None
    finally:
        rig.close()


def test_a_killed_launcher_leaves_a_service_that_the_pidfile_names(rig: ProcessRig) -> None:
    """Kill whoever asked for the start at many moments: what runs afterwards is known, and there is at most one."""
    program = f"from tests.contract.driver_rigs import declare; declare('process', {rig.options!r}).start()"
    for delay in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4):
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as asker:
            try:
                asker.wait(delay)
            except subprocess.TimeoutExpired:
                asker.kill()

        def settled() -> bool:
            running = {pid: command for pid in psutil.pids() if str(rig.port) in (command := command_of(pid))}
            identity = rig.driver.identity()
            return "launch.py" not in str(running) and list(running) == ([identity["pid"]] if identity else [])

        eventually(settled)
