"""TCP addresses that a service listens on: how they are declared, whether they accept, and who holds them."""

import socket
from typing import Annotated, NamedTuple

import psutil
from pydantic import BeforeValidator, Field

CONNECT_TIMEOUT = 0.5
"""Seconds one attempt to connect may take."""


class Listener(NamedTuple):
    """One TCP address."""

    host: str
    port: Annotated[int, Field(ge=1, le=65_535)]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def _parse(value: object) -> object:
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return ("127.0.0.1", value)
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        if not port.isdigit() or (colon and not host):
            msg = f"'{value}' is not a port or 'host:port'"
            raise ValueError(msg)
        return (host.strip("[]") or "127.0.0.1", int(port))
    return value


Ports = tuple[Annotated[Listener, BeforeValidator(_parse)], ...]
"""Ports of this machine (`8080`) or addresses (`"10.0.0.7:8080"`)."""


def accepts(listener: Listener, timeout: float = CONNECT_TIMEOUT) -> bool:
    """Say whether something accepts connections at `listener`; `timeout` in seconds."""
    try:
        socket.create_connection(listener, timeout).close()
    except OSError:
        return False
    return True


def is_held(listener: Listener, timeout: float = CONNECT_TIMEOUT) -> bool:
    """Say whether something listens at `listener`, be it too busy to accept: a connection that hangs is held, too."""
    try:
        socket.create_connection(listener, timeout).close()
    except TimeoutError:
        return True
    except OSError:
        return False
    return True


def holder(listener: Listener) -> str:
    """Return who listens there, such as `pid 4711 (nginx)`, or `another process` where the system does not tell."""
    try:
        found = [
            c.pid
            for c in psutil.net_connections("tcp")
            if c.laddr and c.laddr.port == listener.port and c.status == psutil.CONN_LISTEN and c.pid
        ]
        return f"pid {found[0]} ({psutil.Process(found[0]).name()})" if found else "another process"
    except (psutil.Error, OSError):
        return "another process"
