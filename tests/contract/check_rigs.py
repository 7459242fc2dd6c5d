"""Each kind of check on the workbench: a thing that is well, the same thing broken, and (where it can hang) the same thing hung."""

import asyncio
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from recovery.config.fleet import CheckDeclaration, Fleet, ServiceDeclaration
from recovery.detect.checks import check_kinds
from recovery.detect.probe import probe_all
from recovery.models import Category, FailureType, utcnow
from recovery.ports import Finding


@dataclass
class Beats:
    """Heartbeats in memory; `hold` makes a look-up hang."""

    beats: dict[str, datetime] = field(default_factory=dict)
    hold: threading.Event | None = None

    def last(self, service: str) -> datetime | None:
        if self.hold:
            self.hold.wait(30)
        return self.beats.get(service)


@dataclass
class Case:
    """One kind on the workbench."""

    kind: str
    well: dict[str, Any]
    broken: dict[str, Any]
    category: Category
    type: FailureType
    beats: Beats = field(default_factory=Beats)
    break_it: Callable[[], None] = lambda: None
    """Done before the broken options are probed."""


async def probe(kind: str, options: dict[str, Any], beats: Beats, seconds: float = 30.0) -> Finding:
    check = CheckDeclaration.model_validate({"name": "main", "type": kind, "timeout": seconds, "options": options})
    fleet = Fleet(version="1", services={"shop": ServiceDeclaration(name="shop", checks=(check,))})
    return (await probe_all(check_kinds(), fleet, beats, ["shop.main"]))["shop.main"]


@asynccontextmanager
async def serving(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    """Run a TCP server on a free port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def say_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
    await writer.drain()
    writer.close()


async def say_500(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n")
    writer.write(b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


@contextmanager
def running(pidfile: Path, code: str = "import time; time.sleep(600)") -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, by default one that does nothing, that is named by `pidfile`; its own start is over."""
    with subprocess.Popen([sys.executable, "-c", f"print(flush=True)\n{code}"], stdout=subprocess.PIPE) as process:
        pidfile.write_text(f"{process.pid}\n")
        try:
            assert process.stdout
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def http_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    async with serving(say_ok) as well, serving(say_500) as broken:
        yield Case(
            "http",
            {"url": f"http://127.0.0.1:{well}/", "body_contains": "ok"},
            {"url": f"http://127.0.0.1:{broken}/"},
            Category.SERVICE_UNAVAILABLE,
            FailureType.HEALTH_CHECK,
        )


@asynccontextmanager
async def tcp_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    async with serving(say_ok) as port:
        options = {"port": port, "send": "GET / HTTP/1.1\r\n\r\n"}
        yield Case(
            "tcp", options | {"expect": "200 OK"}, options | {"expect": "204"}, Category.SERVICE_UNAVAILABLE, FailureType.HEALTH_CHECK
        )


@asynccontextmanager
async def redis_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    yield Case("redis", {"url": url, "role": "master"}, {"url": f"unix://{tmp_path}/nobody.sock"}, Category.CACHE, FailureType.ERROR)


@asynccontextmanager
async def cache_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    def scribble() -> None:
        client.set("item:2", b"scribble")

    payload = b"tea"
    client.set("item:1", hashlib.sha256(payload).hexdigest().encode() + b":" + payload)
    options = {"url": url, "match": "item:*", "required": ["item:1"]}
    yield Case(
        "cache",
        options,
        options,
        Category.CACHE_CORRUPTION,
        FailureType.ANOMALY,
        break_it=scribble,
    )


@asynccontextmanager
async def sql_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    file = tmp_path / "data.db"
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE items (name TEXT)")
    database.close()
    options = {"file": str(file), "query": "SELECT count(*) FROM items", "expect": 0, "integrity": True}
    yield Case("sql", options, {"file": str(tmp_path / "absent.db")}, Category.DATABASE, FailureType.ERROR)


@asynccontextmanager
async def process_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    def kill() -> None:
        process.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and still a zombie

    with running(tmp_path / "it.pid") as process:
        options = {"pidfile": str(tmp_path / "it.pid")}
        yield Case(
            "process",
            options,
            options,
            Category.SERVICE_UNAVAILABLE,
            FailureType.HEALTH_CHECK,
            break_it=kill,
        )


@asynccontextmanager
async def command_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    yield Case(
        "command",
        {"command": [sys.executable, "-c", "print('fine')"]},
        {"command": [sys.executable, "-c", "print('bad'); raise SystemExit(2)"]},
        Category.SERVICE_UNAVAILABLE,
        FailureType.HEALTH_CHECK,
    )


@asynccontextmanager
async def heartbeat_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    beats = Beats({"shop": utcnow()})
    options = {"period": 60, "grace": 5}
    yield Case(
        "heartbeat",
        options,
        options,
        Category.SERVICE_UNAVAILABLE,
        FailureType.HEARTBEAT,
        beats,
        lambda: beats.beats.update(shop=utcnow() - timedelta(seconds=66)),
    )


@asynccontextmanager
async def memory_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    with running(tmp_path / "it.pid"):
        options = {"pidfile": str(tmp_path / "it.pid")}
        yield Case(
            "memory", options | {"max_bytes": "4GiB"}, options | {"max_bytes": "1KiB"}, Category.MEMORY_PRESSURE, FailureType.RESOURCE_LIMIT
        )


@asynccontextmanager
async def cpu_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    idle, busy = tmp_path / "idle.pid", tmp_path / "busy.pid"
    with running(idle), running(busy, "while True: pass"):
        yield Case(
            "cpu",
            {"pidfile": str(idle), "window": 0.2, "max_percent": 90},
            {"pidfile": str(busy), "window": 0.5, "max_percent": 1},
            Category.CPU_PRESSURE,
            FailureType.RESOURCE_LIMIT,
        )


@asynccontextmanager
async def disk_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    options = {"path": str(tmp_path)}
    yield Case("disk", options | {"min_free": 1}, options | {"min_free": "1000PiB"}, Category.DISK_PRESSURE, FailureType.RESOURCE_LIMIT)


@asynccontextmanager
async def python_case(tmp_path: Path, client: redis.Redis, url: str) -> AsyncIterator[Case]:
    yield Case(
        "python",
        {"function": "os.path.isdir", "arguments": {"s": str(tmp_path)}},
        {"function": "os.path.isdir", "arguments": {"s": str(tmp_path / "absent")}},
        Category.SERVICE_UNAVAILABLE,
        FailureType.HEALTH_CHECK,
    )


CASES = {
    "http": http_case,
    "tcp": tcp_case,
    "redis": redis_case,
    "sql": sql_case,
    "process": process_case,
    "command": command_case,
    "heartbeat": heartbeat_case,
    "cache": cache_case,
    "memory": memory_case,
    "cpu": cpu_case,
    "disk": disk_case,
    "python": python_case,
}


def hang() -> None:
    """Block as no timeout in this process can interrupt."""
    HELD.wait(30)


HELD = threading.Event()


@asynccontextmanager
async def hanging(kind: str, tmp_path: Path) -> AsyncIterator[tuple[dict[str, Any], Beats]]:
    """Give options (and heartbeats) with which a check of this kind would wait for a long time."""
    beats = Beats(hold=HELD)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    async with serving(say_nothing) as port:
        options: dict[str, dict[str, Any]] = {
            "http": {"url": f"http://127.0.0.1:{port}/"},
            "tcp": {"port": port, "expect": "anything"},
            "redis": {"url": f"redis://127.0.0.1:{port}/0"},
            "cache": {"url": f"redis://127.0.0.1:{port}/0"},
            "command": {"command": ["sleep", "600"]},
            "heartbeat": {"period": 60},
            "process": {"pidfile": str(fifo)},
            "memory": {"pidfile": str(fifo)},
            "cpu": {"pidfile": str(fifo)},
            "python": {"function": f"{__name__}.hang"},
        }
        try:
            yield options[kind], beats
        finally:
            if kind in {"process", "memory", "cpu"}:
                os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))
