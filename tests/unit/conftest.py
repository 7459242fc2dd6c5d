"""Unit tests talk to nobody: opening a connection or listening fails the test."""

import socket
from typing import NoReturn

import pytest


class NoNetworkError(AssertionError):
    """A unit test tried to use a socket; move it to tests/contract or tests/integration."""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_socket: socket.socket, address: object, *_rest: object) -> NoReturn:
        raise NoNetworkError(f"{NoNetworkError.__doc__} Address: {address!r}")

    for method in ("connect", "connect_ex", "bind"):
        monkeypatch.setattr(socket.socket, method, refuse)
