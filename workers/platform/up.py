"""`recovery up` and `recovery broker`: the whole platform, or only its embedded Valkey, in the foreground."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, cast

from recovery.errors import AlreadyRunning, RecoveryError
from recovery.settings import Settings
from recovery.settings import redact as redact_url
from workers import logs
from workers.platform import flower
from workers.platform.children import REMEDIES, Child, commands
from workers.platform.embedded import EmbeddedValkey
from workers.platform.folders import FolderLock, private_folder
from workers.platform.output import Output
from workers.platform.signals import Signals
from workers.platform.supervisor import Part, Supervisor

NAME = "up"
NAME_WIDTH = 7


class ValkeyPart:
    """The embedded Valkey as a part that the supervisor keeps running; it outlives all others.

    Args:
        valkey: the server, started or not.
    """

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self.name = "valkey"
        self.output: int | None = None
        self._valkey = valkey

    @property
    def pid(self) -> int | None:
        """Return the server's process id."""
        return self._valkey.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._valkey.start()

    def alive(self) -> bool:
        """Say whether the server runs."""
        return self._valkey.alive()

    def ready(self) -> bool:
        """Say whether it answers: `start` has waited for that."""
        return self.alive()

    def ending(self) -> str:
        """Say where to read how it ended."""
        return f"see {self._valkey.log}"

    def ask_to_stop(self) -> bool:
        """Do nothing: the others need the server to the end."""
        return False

    def end(self) -> None:
        """Let the server write its data and exit."""
        self._valkey.stop()


def up(settings: Settings, *, app: str = "workers", migrate: Callable[[str], None] | None = None, remedies: int = REMEDIES) -> int:
    """Run the platform in the foreground until Ctrl-C or SIGTERM and return the exit code.

    Args:
        settings: where everything is.
        app: the module for `celery -A`.
        migrate: brings the database at a URL to the newest schema; the store's own if None.
        remedies: processes for remedies at most, from 1.
    """

    def children(flower_address: tuple[str, int]) -> list[Part]:
        return [Child(command) for command in commands(settings, app, flower_address, remedies)]

    return _foreground(settings, lambda output, signals: _platform(settings, children, migrate or _migrate, output, signals))


def serve_broker(settings: Settings) -> int:
    """Run only the embedded Valkey in the foreground, for those who start workers by hand, and return the exit code."""
    if not settings.embedded:
        return _refuse(f"RECOVERY_REDIS_URL is set to {redact_url(settings.redis)}: there is no embedded broker to run.")
    return _foreground(settings, lambda output, signals: _broker(settings, output, signals))


def _foreground(settings: Settings, run: Callable[[Output, Signals], None]) -> int:
    output = Output(sys.stdout, width=NAME_WIDTH, as_json=settings.log_format == "json")
    logs.configure(settings, stream=cast(TextIO, output.voice(NAME)))
    try:
        with Signals() as signals, _only_one(settings.home):
            run(output, signals)
    except RecoveryError as error:
        output.close()
        return _refuse(error.message)
    finally:
        output.close()
    return 0


def _refuse(sentence: str) -> int:
    sys.stderr.write(f"{sentence}\n")
    return 1


def _platform(
    settings: Settings,
    children: Callable[[tuple[str, int]], list[Part]],
    migrate: Callable[[str], None],
    output: Output,
    signals: Signals,
) -> None:
    private_folder(settings.home / "run")
    parts: list[Part] = []
    valkey = EmbeddedValkey(settings.home, settings.socket) if settings.embedded else None
    log = logs.get_logger("up")
    try:
        if valkey:
            valkey.start()
            log.info("platform.started", part="valkey", pid=valkey.pid)
            parts.append(ValkeyPart(valkey))
        migrate(settings.database)
        address = flower.free_address(settings)
        parts += children(address)
        supervisor = Supervisor(parts, output=output, log=log, signals=signals, on_ready=lambda: _welcome(settings, address, output))
        supervisor.run()
    finally:
        if valkey:
            valkey.stop()


def _broker(settings: Settings, output: Output, signals: Signals) -> None:
    part = ValkeyPart(EmbeddedValkey(settings.home, settings.socket))
    part.start()

    def ready() -> None:
        output.say(NAME, f"The broker is ready on {settings.socket} (Ctrl-C to stop). Now `celery -A workers worker`, in this folder.")

    Supervisor([part], output=output, log=logs.get_logger("broker"), signals=signals, on_ready=ready).run()


def _welcome(settings: Settings, address: tuple[str, int], output: Output) -> None:
    own = f"user {flower.USER}, password in {flower.password_file(settings.home)}"
    login = "user and password as in FLOWER_BASIC_AUTH" if os.environ.get("FLOWER_BASIC_AUTH") else own
    for line in (
        "Everything is up.",
        f"  Data    {settings.home}, history in {redact_url(settings.database)}",
        f"  Redis   {redact_url(settings.redis)}",
        f"  Flower  http://{address[0]}:{address[1]}  ({login})",
        "  Look    recovery status",
        "  Stop    Ctrl-C",
    ):
        output.say(NAME, line)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    lock = FolderLock(private_folder(home) / "up.lock")
    if not lock.acquire():
        raise AlreadyRunning(f"The platform is already running on {home} (process {lock.holder()}).", pid=lock.holder())
    try:
        yield
    finally:
        lock.release()


def _migrate(url: str) -> None:
    from recovery.store.migrate import migrate

    migrate(url)
