"""Flower, safe and readable: on this machine only, behind a password, without buttons that stop workers, with tasks in plain words.

Flower reads its options from FLOWER_* variables, then from the command line. We fill in only what the operator left open.
"""

import functools
import os
import secrets
import socket
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from recovery.errors import ConfigurationError
from recovery.settings import Settings
from workers import logs
from workers.platform.folders import private_folder

USER = "admin"
LOCAL = "127.0.0.1"

PORTS_TRIED = 100
"""Ports above the preferred one that `up` tries before it lets the system choose."""

DEFAULTS = {
    "FLOWER_ADDRESS": LOCAL,  # Flower's own default is every interface
    "FLOWER_MAX_TASKS": "10000",  # about 45 MB; Flower's own default takes 400
    "FLOWER_READ_ONLY": "true",  # its API would run any task for anybody with the password
    "FLOWER_TASKS_COLUMNS": "name,args,kwargs,state,received,runtime,uuid,worker",
    "FLOWER_PURGE_OFFLINE_WORKERS": "3600",  # seconds
}


def secure_flower(settings: Settings, argv: Sequence[str] | None = None, environ: MutableMapping[str, str] | None = None) -> None:
    """Prepare this process for the `flower` command; call it before Flower reads its options.

    Basic auth is always on, unless the operator chose `--auth` (OAuth). The user is `admin` and the password lies in the data
    folder, unless FLOWER_BASIC_AUTH or `--basic-auth` says otherwise. `/metrics` asks for it too; only `/healthcheck` is open.

    Args:
        settings: give the data folder and the port.
        argv: the command line, this process's own if None.
        environ: the environment to complete, this process's own if None.
    """
    argv = sys.argv if argv is None else argv
    environ = os.environ if environ is None else environ
    for name, value in {**DEFAULTS, "FLOWER_PORT": str(settings.flower_port)}.items():
        environ.setdefault(name, value)
    if not _authenticated(argv, environ):
        environ["FLOWER_BASIC_AUTH"] = f"{USER}:{password(settings.home)}"
    logs.configure(settings)
    _close_metrics()
    _show_tasks_in_words()


def password_file(home: Path) -> Path:
    """Return the file that holds Flower's password."""
    return home / "flower-password"


def password(home: Path) -> str:
    """Return Flower's password; the first caller makes it up and writes it where only this user can read it."""
    path = password_file(private_folder(home))
    made = secrets.token_urlsafe(18)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(f"{made}\n", encoding="ascii")
    try:
        os.link(draft, path)  # either the whole password is there or none, and the first one stays
    except FileExistsError:
        made = path.read_text(encoding="ascii").strip()
    finally:
        draft.unlink()
    return made


def free_address(settings: Settings) -> tuple[str, int]:
    """Return the host and port for Flower: the preferred port, else the next free one.

    Raises:
        ConfigurationError: FLOWER_ADDRESS is not an address of this machine.
    """
    host = os.environ.get("FLOWER_ADDRESS", LOCAL)
    first = max(settings.flower_port, 0)
    candidates = [*range(first, min(first + PORTS_TRIED, 65536)), 0]
    for port in candidates:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Flower itself binds
            try:
                probe.bind((host, port))
            except OSError:  # taken, or reserved for the superuser
                continue
            return host, int(probe.getsockname()[1])
    raise ConfigurationError(f"Flower cannot listen on '{host}', which FLOWER_ADDRESS names: it is not an address of this machine.")


def _authenticated(argv: Sequence[str], environ: MutableMapping[str, str]) -> bool:
    given = {word.lstrip("-").partition("=")[0].replace("-", "_") for word in argv if word.startswith("-")}
    return bool(given & {"basic_auth", "auth"} or environ.get("FLOWER_BASIC_AUTH") or environ.get("FLOWER_AUTH"))


def _close_metrics() -> None:
    """Make `/metrics` ask for the password: it names every task and worker."""
    from flower.views.monitor import Metrics
    from tornado.web import authenticated

    if not hasattr(Metrics.get, "__wrapped__"):
        Metrics.get = functools.wraps(Metrics.get)(authenticated(Metrics.get))


def _show_tasks_in_words() -> None:
    import flower.options
    from tornado.options import options

    from workers.platform.flower_tasks import in_words

    assert flower.options.default_options is options
    options.format_task = in_words
