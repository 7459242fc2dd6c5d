"""The commands of docker-compose.yml, run as written: each part starts, its health check sees it, and misses it once it is gone."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ValkeyServer, eventually, free_port

pytestmark = pytest.mark.timeout(240)

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())["services"]


class Part:
    """One service of the compose file as processes of this machine."""

    def __init__(self, name: str, home: Path, broker: str) -> None:
        port = str(free_port())
        service = SERVICES[name]
        test: list[str] = service["healthcheck"]["test"]
        check = ["sh", "-c", test[1].replace("$$", "$")] if test[0] == "CMD-SHELL" else test[1:]
        self.command = [word.replace("5555", port) for word in service["command"]]
        self.check = [word.replace("5555", port) for word in check]
        self.home, self.log = home, home / "part.log"
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOSTNAME": socket.gethostname(),
            "REMAP_SIGTERM": service["environment"]["REMAP_SIGTERM"],
            "FLOWER_BASIC_AUTH": "user:password",
            "RECOVERY_REDIS_URL": broker,
            "RECOVERY_DATA_DIR": str(home),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command, cwd=self.home, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def healthy(self) -> bool:
        assert self._process
        if self._process.poll() is not None:
            pytest.fail(f"it ended with {self._process.returncode}: {self.log.read_text()[-2000:]}")
        return self._ask() == 0

    def missed(self) -> bool:
        return self._ask() != 0

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _ask(self) -> int:
        return subprocess.run(self.check, cwd=self.home, env=self.environment, capture_output=True, check=False).returncode


@pytest.fixture
def broker(short_dir: Path) -> Iterator[str]:
    server = ValkeyServer(short_dir)
    server.start()
    yield server.url
    server.kill()


@pytest.mark.parametrize("name", ["worker-health", "worker-restart", "beat", "flower"])
def test_a_health_check_sees_its_part_and_misses_it_once_it_is_gone(name: str, data_dir: Path, broker: str) -> None:
    part = Part(name, data_dir, broker)
    part.start()
    try:
        eventually(part.healthy, within=150, message=lambda: part.log.read_text()[-2000:])
    finally:
        part.kill()

    assert part.missed()


def test_flower_shows_its_pages_only_with_the_password(data_dir: Path, broker: str) -> None:
    part = Part("flower", data_dir, broker)
    part.start()
    try:
        eventually(part.healthy, within=150, message=lambda: part.log.read_text()[-2000:])
        port = next(word for word in part.command if word.startswith("--port=")).removeprefix("--port=")
        with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            status = client.recv(64).split(b"\r\n")[0]
    finally:
        part.kill()

    assert b" 401 " in status
