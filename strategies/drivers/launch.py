"""Start one program detached and leave its pid in a file. Run as a script by the `process` driver; needs only the standard library.

The started process writes the pidfile itself, before it becomes the program: there is no moment in which the program runs
and the pidfile does not name it, whoever is killed when. Its parent is init (or the nearest subreaper), not the worker.
"""

import contextlib
import fcntl
import os
import pwd
import signal
import sys
from typing import NoReturn


def main(pidfile: str, expected: str, log: str, cwd: str, user: str, *command: str) -> int:
    """Start `command` unless the pidfile says something else than `expected` by now; print why not, return the exit code.

    The comparison makes two concurrent starts one: whoever comes second finds the pid of the first.
    """
    lock = os.open(f"{pidfile}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if _text(pidfile) != expected:
        sys.stdout.write("another start was faster")
        return 1
    reader, writer = os.pipe()
    if os.fork() == 0:
        _become(writer, pidfile, log, cwd, user, command)
    os.close(writer)
    with os.fdopen(reader) as stream:
        trouble = stream.read()
    sys.stdout.write(trouble)
    return 1 if trouble else 0


def _become(writer: int, pidfile: str, log: str, cwd: str, user: str, command: tuple[str, ...]) -> NoReturn:
    """Turn this process into the program; the pipe closes by itself when that worked."""
    doing = ""
    try:
        os.setsid()
        doing = f"cannot write the pidfile {pidfile}"
        _replace(pidfile, f"{os.getpid()}\n")
        doing = f"cannot open the log {log}"
        _redirect(log)
        doing = f"cannot become user '{user}'"
        _drop_privileges(user)
        doing = f"cannot enter the working directory {cwd}"
        os.chdir(cwd)
        _reset_signals()
        doing = f"cannot execute '{command[0]}'"
        os.execvp(command[0], command)  # noqa: S606 - running exactly what the operator declared, without a shell
    except (OSError, KeyError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        os.write(writer, f"{doing}: {reason}".encode())
    finally:
        os._exit(127)


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123 - pathlib takes longer to import than all the rest
            return file.read().strip()
    except FileNotFoundError:
        return ""


def _replace(path: str, text: str) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="ascii") as file:  # noqa: PTH123
        file.write(text)
    os.replace(temporary, path)  # noqa: PTH105


def _redirect(log: str) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def _drop_privileges(user: str) -> None:
    if not user:
        return
    entry = pwd.getpwnam(user)
    if entry.pw_uid == os.geteuid():
        return
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)


def _reset_signals() -> None:
    """Undo what workers ignore or block: both would be inherited by the program."""
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
