"""A service to be broken: answers HTTP, counts its starts in a file, and falls ill on command. Needs only the standard library.

    python -I -S patient.py PORT FOLDER NAME [BOOT_SECONDS] [STOP_SECONDS]

`FOLDER/NAME.starts` gets one line (pid, time) per start. `FOLDER/NAME.mode` says how it behaves: `500`, `hang`, or nothing for
health; a new instance is well again and removes the file, unless the mode ends with `!`: that illness survives a restart.
While `FOLDER/NAME.hold` says `boot`, it does not listen yet; while it says `stop`, it does not end yet.
"""

import _thread
import os
import signal
import socket
import sys
import time

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
SICK = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 5\r\nConnection: close\r\n\r\nsick\n"


def main(port: str, folder: str, name: str, boot: str = "0", stop: str = "0") -> None:
    """Serve until a signal ends it.

    Args:
        port: on the loopback.
        folder: where its files are.
        name: of its files.
        boot: seconds from the start until it listens.
        stop: seconds it takes to end after SIGTERM.
    """
    born = time.monotonic()
    mode = f"{folder}/{name}.mode"
    with open(f"{folder}/{name}.starts", "a") as starts:  # noqa: PTH123 - pathlib would be most of the start time
        starts.write(f"{os.getpid()} {time.time():.6f}\n")
    if read(mode) and not read(mode).endswith("!"):
        os.unlink(mode)  # noqa: PTH108
    hold = f"{folder}/{name}.hold"
    signal.signal(signal.SIGTERM, lambda *_: _thread.start_new_thread(end, (float(stop), hold)))
    time.sleep(max(0.0, float(boot) - (time.monotonic() - born)))
    wait_while(hold, "boot")
    server = socket.create_server(("127.0.0.1", int(port)), backlog=64)
    while True:
        _thread.start_new_thread(answer, (server.accept()[0], mode))


def answer(connection: socket.socket, mode: str) -> None:
    """Answer one request as the mode says."""
    with connection:
        try:
            connection.recv(4096)
            while read(mode).startswith("hang"):
                time.sleep(0.05)
            connection.sendall(SICK if read(mode).startswith("500") else OK)
        except OSError:
            return  # who asked has gone


def end(seconds: float, hold: str) -> None:
    """Die after a while."""
    time.sleep(seconds)
    wait_while(hold, "stop")
    os._exit(0)


def wait_while(hold: str, what: str) -> None:
    """Wait while the file `hold` says `what`."""
    while read(hold) == what:
        time.sleep(0.02)


def read(path: str) -> str:
    """Return a file's text, empty if there is none."""
    try:
        with open(path) as file:  # noqa: PTH123
            return file.read().strip()
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    main(*sys.argv[1:])
