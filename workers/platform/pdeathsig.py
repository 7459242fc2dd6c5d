"""Ties a process to its parent, so that not even `kill -9` of the parent leaves it behind (Linux's PR_SET_PDEATHSIG).

Run as a script it ties itself and then becomes the given command: unlike a `preexec_fn` that is safe beside threads.
macOS has no such call: there `follow` looks for the parent once a second, and a Valkey whose owner was killed lives on until
the next `up` on its data folder ends it.
"""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1
"""From Linux's `prctl.h`."""

SUPPORTED = sys.platform == "linux"


def leash(parent: int, with_signal: int = signal.SIGKILL) -> bool:
    """Let this process get `with_signal` when the thread that started it ends; say whether this system can do that.

    Args:
        parent: the process that is expected to be the parent; if it is gone already, this process ends now.
        with_signal: SIGKILL for what may stop anywhere, SIGTERM for what has something to flush.
    """
    if not SUPPORTED:
        return False
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os.kill(os.getpid(), with_signal)
    return True


def leashed(argv: Sequence[str], with_signal: int = signal.SIGKILL) -> list[str]:
    """Return the command that runs `argv` on a leash held by this process; the process id stays the same."""
    if not SUPPORTED:
        return list(argv)
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(int(with_signal)), str(os.getpid()), *argv]


def follow(parent: int, every: float = 1.0) -> None:
    """End this process's whole group soon after `parent` is gone: the portable way, for a group leader that runs Python.

    Args:
        parent: the process that is the parent now.
        every: seconds between looks.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(every)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=look, name="follow-parent", daemon=True).start()


def _become(arguments: Sequence[str]) -> None:
    with_signal, parent, *argv = arguments
    leash(int(parent), int(with_signal))
    os.execvp(argv[0], argv)  # noqa: S606 - the caller gave a list of arguments; a shell is what this avoids


if __name__ == "__main__":
    _become(sys.argv[1:])
