"""Talk to supervisord: XML-RPC over its unix socket or HTTP, with timeouts, and answers as frozen data."""

import base64
import http.client
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, Fault, ProtocolError, SafeTransport, ServerProxy, Transport

from recovery.errors import DriverError

NOT_RUNNING = 70
ALREADY_STARTED = 60
STARTING, RUNNING, STOPPING = 10, 20, 40
UNAUTHORIZED = 401


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process as supervisord sees it."""

    group: str
    name: str
    state: int
    state_name: str
    pid: int
    start: int
    """When it was last started, epoch seconds."""
    problem: str
    """Why it could not be started, or how it exited."""

    @property
    def full_name(self) -> str:
        """Return `group:name`, which is unique."""
        return f"{self.group}:{self.name}"

    @property
    def is_running(self) -> bool:
        """Say whether there is a process behind it, even one that is just ending."""
        return self.pid > 0 and self.state in {STARTING, RUNNING, STOPPING}


class Supervisord:
    """One supervisord. Every method raises `DriverError` with one clear sentence if it does not answer.

    Args:
        path: its unix socket, or None.
        url: its HTTP address, or None.
        username: of its HTTP server, empty for none.
        password: of its HTTP server.
        timeout: seconds one call may take.
    """

    def __init__(self, path: Path | None, url: str | None, username: str, password: str, timeout: float) -> None:
        self._address = str(path or url)
        token = base64.b64encode(f"{username}:{password}".encode()).decode()
        headers = [("Authorization", f"Basic {token}")] if username else []
        self._uri = f"{(url or 'http://localhost').rstrip('/')}/RPC2"
        self._transport: Transport = _transport(path, self._uri, headers, timeout)

    def call(self, method: str, *arguments: Any) -> Any:
        """Call one method of the namespace `supervisor`; raises `Fault` with supervisord's own code."""
        try:
            with ServerProxy(self._uri, transport=self._transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except Fault:
            raise
        except ProtocolError as error:
            reason = "wrong username or password" if error.errcode == UNAUTHORIZED else f"HTTP status {error.errcode} {error.errmsg}"
            raise DriverError(f"supervisord at {self._address} refused the call: {reason}") from error
        except (OSError, HTTPException, Error) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise DriverError(f"supervisord at {self._address} does not answer: {reason}") from error

    def processes(self) -> list[ProcessInfo]:
        """Return every process that supervisord manages."""
        try:
            return [_info(raw) for raw in self.call("getAllProcessInfo")]
        except Fault as fault:
            raise DriverError(f"supervisord at {self._address} refused to list its processes: {fault.faultString}") from fault

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one process; does nothing if it runs no more."""
        try:
            self.call("signalProcess", name, number.name.removeprefix("SIG"))
        except Fault as fault:
            if fault.faultCode != NOT_RUNNING:
                raise DriverError(f"supervisord could not send {number.name} to '{name}': {fault.faultString}") from fault

    def tail(self, name: str, length: int) -> str:
        """Return the end of a process's stderr log, or of its stdout log; empty if there is neither."""
        for stream in ("Stderr", "Stdout"):
            try:
                text, _offset, _overflow = self.call(f"tailProcess{stream}Log", name, 0, length)
            except Fault:
                continue
            if text:
                return str(text).strip()
        return ""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _UnixTransport(Transport):
    def __init__(self, path: Path, headers: Iterable[tuple[str, str]], timeout: float) -> None:
        super().__init__(headers=headers)
        self._path = path
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = _UnixConnection(self._path, self._timeout)
        self._connection = host, connection  # what Transport.close() closes
        return connection


class _HttpTransport(Transport):
    def __init__(self, headers: Iterable[tuple[str, str]], timeout: float) -> None:
        super().__init__(headers=headers)
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        name, self._extra_headers, _x509 = self.get_host_info(host)
        connection = http.client.HTTPConnection(name, timeout=self._timeout)
        self._connection = host, connection
        return connection


class _HttpsTransport(SafeTransport):
    def __init__(self, headers: Iterable[tuple[str, str]], timeout: float) -> None:
        super().__init__(headers=headers)
        self._timeout = timeout

    def make_connection(self, host: Any) -> http.client.HTTPSConnection:
        name, self._extra_headers, _x509 = self.get_host_info(host)
        connection = http.client.HTTPSConnection(name, timeout=self._timeout)
        self._connection = host, connection
        return connection


def _transport(path: Path | None, uri: str, headers: list[tuple[str, str]], timeout: float) -> Transport:
    if path is not None:
        return _UnixTransport(path, headers, timeout)
    return _HttpsTransport(headers, timeout) if uri.startswith("https:") else _HttpTransport(headers, timeout)


def _info(raw: dict[str, Any]) -> ProcessInfo:
    exited = f"exited with {raw['exitstatus']}" if raw["exitstatus"] else ""
    return ProcessInfo(
        group=str(raw["group"]),
        name=str(raw["name"]),
        state=int(raw["state"]),
        state_name=str(raw["statename"]),
        pid=int(raw["pid"]),
        start=int(raw["start"]),
        problem=str(raw["spawnerr"] or exited),
    )
