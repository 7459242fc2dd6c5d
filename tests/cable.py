"""A cable between clients and a Redis server: it can be cut, so that it swallows every byte, and plugged into another server."""

import contextlib
import select
import socket
import threading
from pathlib import Path


class Cable:
    """A TCP port on the loopback in front of a server's unix socket.

    Args:
        target: path of the server's socket.
    """

    def __init__(self, target: Path) -> None:
        self._target = target
        self._cut = False
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Return where clients find the server."""
        return f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"

    def cut(self) -> None:
        """Swallow whatever is sent from now on, in both directions; connections stay open and new ones are accepted."""
        self._cut = True

    def mend(self, target: Path | None = None) -> None:
        """Let bytes through again, to another server if one is given; connections from before are hung up."""
        self._target = target or self._target
        self._cut = False
        with self._lock:
            for each in self._open:
                _hang_up(each)

    def lead_to(self, target: Path) -> None:
        """Take new connections to another server; those from before stay where they are, as when a name leads elsewhere."""
        self._target = target

    def close(self) -> None:
        """End it, with all connections."""
        _hang_up(self._server)
        self._server.close()
        self.mend()
        for thread in self._threads:
            thread.join(30)

    def _accept(self) -> None:
        while True:
            try:
                caller = self._server.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(caller,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, caller: socket.socket) -> None:
        with caller, socket.socket(socket.AF_UNIX) as server:
            with self._lock:
                self._open |= {caller, server}
            try:
                if not self._cut:
                    server.connect(str(self._target))
                    self._pass_on(caller, server)
                while caller.recv(1 << 16):  # nobody is at the other end
                    pass
            except OSError:
                pass
            finally:
                with self._lock:
                    self._open -= {caller, server}

    def _pass_on(self, caller: socket.socket, server: socket.socket) -> None:
        other = {caller: server, server: caller}
        while True:
            for ready in select.select([caller, server], [], [])[0]:
                data = ready.recv(1 << 16)
                if not data:
                    _hang_up(other[ready])
                    return
                if not self._cut:
                    other[ready].sendall(data)


def _hang_up(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
