"""A small real service for driver tests: listens, notes its starts and reloads, ends on SIGTERM unless told to ignore it.

Usage: driven_service.py PORT [--stubborn] [--children] [--crash] [--mute]
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


def note(name: str, text: str = "") -> None:
    with Path(name).open("a") as file:
        file.write(f"{text or os.getpid()}\n")


def main(port: int, flags: set[str]) -> None:
    if "--crash" in flags:
        sys.exit("no such table: customers")
    note("started")
    children = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])] if "--children" in flags else []
    for child in children:
        note("children", str(child.pid))

    def end(*_: object) -> None:
        note("ended")
        sys.exit(0)

    signal.signal(signal.SIGTERM, signal.SIG_IGN if "--stubborn" in flags else end)
    if "--mute" not in flags:
        signal.signal(signal.SIGHUP, lambda *_: note("reloaded"))
    with socket.create_server(("127.0.0.1", port)) as server:
        note(f"ready-{os.getpid()}")
        while True:
            server.accept()[0].close()


if __name__ == "__main__":
    main(int(sys.argv[1]), set(sys.argv[2:]))
