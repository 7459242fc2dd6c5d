"""A process with all that it started: find the members, signal them, wait until they are gone."""

import os
import signal
from collections.abc import Iterable

import psutil

from recovery.errors import DriverError
from strategies.polling import wait_until

ORPHAN_GRACE = 2.0
"""Seconds the children of a leader that ended by itself get to end as well."""
KILL_PATIENCE = 5.0
"""Seconds a process may take to vanish after SIGKILL."""
HELPLESS = frozenset({psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP})
"""A process in such a state cannot handle SIGTERM."""

Members = dict[int, psutil.Process]


def is_gone(process: psutil.Process) -> bool:
    """Say whether a process has ended; a zombie has."""
    try:
        return not process.is_running() or process.status() in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return True


def is_helpless(process: psutil.Process) -> bool:
    """Say whether a process is frozen (SIGSTOP, debugger) and so cannot end by itself."""
    try:
        return process.status() in HELPLESS
    except psutil.NoSuchProcess:
        return False


def marked(process: psutil.Process, name: str, value: str) -> bool:
    """Say whether the environment that `process` was started with holds `name=value`; False where it cannot be read."""
    try:
        return process.environ().get(name) == value
    except (psutil.Error, OSError):
        return False


def session_members(session: int) -> Members:
    """Return the living processes of one session, also when its leader is dead."""
    members: Members = {}
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                members[pid] = psutil.Process(pid)
        except (OSError, psutil.NoSuchProcess):
            continue
    return {pid: process for pid, process in members.items() if not is_gone(process)}


def descendants(leader: psutil.Process) -> Members:
    """Return the living children of `leader` and theirs."""
    try:
        return {child.pid: child for child in leader.children(recursive=True) if not is_gone(child)}
    except psutil.NoSuchProcess:
        return {}


def send(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal; does nothing if the process is gone. Raises `DriverError` if it is not permitted."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
    except psutil.AccessDenied as error:
        raise DriverError(
            f"not permitted to send {number.name} to pid {process.pid}; run the worker as the user that owns the process"
        ) from error


def wait_gone(processes: Iterable[psutil.Process], timeout: float) -> bool:
    """Wait up to `timeout` seconds until all are gone; say whether they are."""
    waiting = list(processes)
    return wait_until(lambda: all(is_gone(process) for process in waiting), timeout)


def kill(processes: Iterable[psutil.Process]) -> int:
    """Kill what still lives and wait for it; return how many that were. Raises `DriverError` if one does not die."""
    alive = [process for process in processes if not is_gone(process)]
    for process in alive:
        send(process, signal.SIGKILL)
    if not wait_gone(alive, KILL_PATIENCE):
        stuck = ", ".join(str(process.pid) for process in alive if not is_gone(process))
        raise DriverError(f"SIGKILL did not end pid {stuck} within {KILL_PATIENCE:g} s (waiting in the kernel?)")
    return len(alive)


def catches(process: psutil.Process, number: signal.Signals) -> bool:
    """Say whether `process` handles or ignores a signal; True where the system does not tell (it does on Linux)."""
    try:
        with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123
            masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigCgt:", "SigIgn:"))]
    except OSError:
        return True
    return any(mask >> (number - 1) & 1 for mask in masks)
