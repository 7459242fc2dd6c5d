"""Starts servers of our own: on free ports of the loopback, in temporary folders, as an unprivileged user, ended with us."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.servers.programs import POSTGRES, RABBIT, REDIS, Kind
from tests.support import die_with_parent, eventually, free_port

START_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0
FEW_WRITES = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
"""What a test database need not do: survive a power cut."""


@contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """Run a PostgreSQL server; gives the environment that names it."""
    with _folder(POSTGRES) as (folder, user):
        program, data, port = _program(POSTGRES), folder / "data", free_port()
        _run([str(program.with_name("initdb")), "-D", str(data), "-U", "recovery", "--auth=trust", "-E", "UTF8", "--no-sync"], folder, user)
        options = ("-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "max_connections=200")
        command = [str(program), "-D", str(data), "-p", str(port), *options, *FEW_WRITES]
        with _process(command, folder, user, ready=lambda: _listens(port), stop=signal.SIGINT):
            yield {"RECOVERY_TEST_POSTGRES": f"postgresql://recovery@127.0.0.1:{port}/postgres"}


@contextmanager
def redis() -> Iterator[dict[str, str]]:
    """Run a Redis server; gives the environment that names it."""
    with _folder(REDIS) as (folder, user):
        port = free_port()
        command = [str(_program(REDIS)), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        url = f"redis://127.0.0.1:{port}"
        with _process([*command, "--databases", "64"], folder, user, ready=lambda: _pongs(url)):
            yield {"RECOVERY_TEST_REDIS": url}


@contextmanager
def rabbit() -> Iterator[dict[str, str]]:
    """Run a RabbitMQ node with its management API and a port mapper of its own; gives the environment that names it."""
    with _folder(RABBIT) as (folder, user):
        port, api, distribution, mapper = (free_port() for _ in range(4))
        (folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{port}\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {api}\nlog.console = true\n"
        )
        (folder / "plugins").write_text("[rabbitmq_management].\n")
        environment = {
            "RABBITMQ_NODENAME": f"recovery{port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RUNNING_UNDER_SYSTEMD": "1",  # the start script becomes the server, instead of staying as its parent
            "ERL_EPMD_PORT": str(mapper),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        epmd = shutil.which("epmd") or "epmd"
        with (
            _process([epmd, "-port", str(mapper), "-address", "127.0.0.1"], folder, user, ready=lambda: _listens(mapper)),
            _process([str(_program(RABBIT))], folder, user, environment, ready=lambda: _listens(port) and _listens(api)),
        ):
            yield {
                "RECOVERY_TEST_BROKER": f"amqp://guest:guest@127.0.0.1:{port}//",
                "RECOVERY_TEST_BROKER_API": f"http://127.0.0.1:{api}/api",
            }


@contextmanager
def _folder(kind: Kind) -> Iterator[tuple[Path, str | None]]:
    """Make a private folder for a server; gives it and the user who is to run the server, None for ourselves."""
    folder = Path(tempfile.mkdtemp(prefix="rcv-server-"))
    user = next((name for name in kind.users if _exists(name)), None) if os.geteuid() == 0 else None
    try:
        if user:
            shutil.chown(folder, user)
        yield folder, user
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _process(
    command: Sequence[str],
    folder: Path,
    user: str | None,
    environment: Mapping[str, str] | None = None,
    *,
    ready: Callable[[], bool],
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[None]:
    """Run `command` until the block ends; its output is shown if it does not become ready."""
    log = folder / f"{Path(command[0]).name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 -- no other thread runs yet
            **_as(user, folder, environment or {}),
        )

    def up() -> bool:
        if process.poll() is not None:
            raise OSError(f"{command[0]} ended with {process.returncode}:\n{log.read_text(errors='replace')[-3000:]}")
        return ready()

    try:
        eventually(up, START_TIMEOUT, lambda: f"{command[0]} is not ready:\n{log.read_text(errors='replace')[-3000:]}", every=0.1)
        yield
    finally:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _run(command: Sequence[str], folder: Path, user: str | None) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **_as(user, folder, {}))
    if done.returncode != 0:
        raise OSError(f"{command[0]} ended with {done.returncode}: {done.stderr}")


def _as(user: str | None, folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Return what lets a process run as `user`, at home in `folder`."""
    plain = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ} | {"HOME": str(folder), **environment}
    common: dict[str, Any] = {"cwd": folder, "env": plain}
    return common | ({"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {})


def _program(kind: Kind) -> Path:
    found = kind.program()
    if found is None:
        raise FileNotFoundError(f"{kind.name} is not installed")
    return found


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _pongs(url: str) -> bool:
    try:
        with Redis.from_url(url, socket_timeout=1.0) as client:
            return bool(client.ping())
    except RedisError:
        return False
