"""Ends the example fleet when its owner is gone without having been able to: `guard.py OWNER_PID PID_FOLDER SOCKET_FOLDER`."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import psutil


def main(owner: int, pids: Path, sockets: Path) -> None:
    """Wait for the owner's end, then end whatever the pid files name."""
    watched = psutil.Process(owner)
    while watched.is_running() and watched.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.5)
    for file in pids.glob("*.pid"):
        try:
            os.kill(int(file.read_text()), signal.SIGKILL)
        except (ValueError, OSError):
            continue
    shutil.rmtree(sockets, ignore_errors=True)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
    except psutil.NoSuchProcess:
        sys.exit(0)
