"""One real service, driven in three ways: by its pidfile, by commands, and by a real supervisord."""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from recovery.config.fleet import DriverDeclaration, ServiceDeclaration
from recovery.models import JsonObject
from recovery.ports import Driver
from strategies.drivers import DRIVERS
from tests.support import eventually, free_port

SERVICE = Path(__file__).with_name("driven_service.py")


class Rig(Protocol):
    """One service behind one driver."""

    home: Path
    driver: Driver
    port: int

    def close(self) -> None: ...


class Traces:
    """What the service left behind in its folder."""

    home: Path

    def pid(self) -> int:
        """Return the pid of the instance that started last."""
        return int((self.home / "started").read_text().split()[-1])

    def starts(self) -> int:
        return len((self.home / "started").read_text().split()) if (self.home / "started").exists() else 0

    def wrote(self, name: str) -> bool:
        return (self.home / name).exists()

    def wait_until_up(self, port: int) -> None:
        """Wait until the last instance has its signal handlers and listens."""
        eventually(lambda: self.wrote(f"ready-{self.pid()}"), message=self.log)

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.home.glob("*.log"))


def declare(kind: str, options: JsonObject) -> Driver:
    service = ServiceDeclaration(name="shop", driver=DriverDeclaration(kind=kind, options=options))
    return DRIVERS[kind].build(service)


class ProcessRig(Traces):
    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.port = free_port()
        self.pidfile = home / "shop.pid"
        self.options: JsonObject = {
            "command": [sys.executable, str(SERVICE), str(self.port), *flags],
            "pidfile": str(self.pidfile),
            "cwd": str(home),
            "ports": [self.port],
        }
        self.driver = declare("process", self.options)

    def close(self) -> None:
        self.driver.stop(0.0)


class CommandRig(Traces):
    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.port = free_port()
        program = shlex.join([sys.executable, str(SERVICE), str(self.port), *flags])
        start = f"{program} >> shop.log 2>&1 < /dev/null & echo $! > command.pid"
        alive = "pid=$(cat command.pid) && kill -0 $pid && ! grep -q '^State:.Z' /proc/$pid/status"
        self.options: JsonObject = {
            "start": ["/bin/sh", "-c", start],
            "stop": ["/bin/sh", "-c", "kill $(cat command.pid)"],
            "reload": ["/bin/sh", "-c", "kill -HUP $(cat command.pid)"],
            "status": ["/bin/sh", "-c", f"{alive} && echo $pid"],
            "cwd": str(home),
            "timeout": 10,
            "ports": [self.port],
        }
        self.driver = declare("command", self.options)

    def close(self) -> None:
        if (self.home / "command.pid").exists():
            kill(int((self.home / "command.pid").read_text()))


def kill(pid: int) -> None:
    """End a process at once; does nothing if there is none."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


SUPERVISORD = """
[unix_http_server]
file={home}/supervisor.sock
chmod=0700
username=recovery
password=secret

[supervisord]
nodaemon=true
logfile={home}/supervisord.txt
pidfile={home}/supervisord.pid
childlogdir={home}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[program:shop]
command={command}
directory={home}
autostart=false
autorestart=false
startsecs=0
stopwaitsecs=60
stdout_logfile={home}/shop.log
stderr_logfile={home}/shop-errors.log

[program:crowd]
command=/bin/sleep 600
process_name=%(program_name)s_%(process_num)d
numprocs=2
autostart=false
startsecs=0
"""


class SupervisorRig(Traces):
    def __init__(self, home: Path, *flags: str) -> None:
        self.home = home
        self.port = free_port()
        self.socket = home / "supervisor.sock"
        command = shlex.join([sys.executable, str(SERVICE), str(self.port), *flags])
        (home / "supervisord.conf").write_text(SUPERVISORD.format(home=home, command=command))
        self.daemon = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(home / "supervisord.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.options: JsonObject = {
            "program": "shop",
            "socket": str(self.socket),
            "username": "recovery",
            "password": "secret",
            "ports": [self.port],
        }
        self.driver = declare("supervisor", self.options)
        try:
            eventually(self._listens)
        except AssertionError:
            self.close()
            raise

    def _listens(self) -> bool:
        """Say whether supervisord accepts; its socket's file is there a moment before."""
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0

    def close(self) -> None:
        if self.starts():
            kill(self.pid())
        self.daemon.terminate()
        try:
            self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()


RIGS: dict[str, type[ProcessRig] | type[CommandRig] | type[SupervisorRig]] = {
    "process": ProcessRig,
    "command": CommandRig,
    "supervisor": SupervisorRig,
}
