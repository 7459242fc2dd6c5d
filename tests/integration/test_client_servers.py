"""The client in servers that fork: gunicorn with and without `--preload`, and uvicorn's workers. Each reports, also its last words."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.streams import failures
from tests.support import die_with_parent, eventually, free_port

HOUSE = Path(__file__).resolve().parents[2]

SITE = """
import os, sys
from recovery.client import RecoveryClient

client = RecoveryClient(os.environ["REPORTS"], source=f"made in {os.getpid()}")
breaker = client.breaker("gateway")
client.report("web", f"import {os.getpid()}")


def answer(path):
    if path == "/report":
        client.report("web", f"request {os.getpid()}")
        breaker.call(str)
        client.flags.enabled("search")
    return str(os.getpid()).encode()


def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [answer(environ["PATH_INFO"])]


async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"].removeprefix("lifespan.")
            if kind == "shutdown":
                client.report("web", f"last words {os.getpid()}")
                client.close()  # uvicorn ends its workers by a signal, without the interpreter's last steps
            await send({"type": f"lifespan.{kind}.complete"})
            if kind == "shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": answer(scope["path"])})


def worker_exit(server, worker):
    client.report("web", f"last words {os.getpid()}")
"""

HOOK = """
def worker_exit(server, worker):
    import site_app

    site_app.worker_exit(server, worker)
"""

GUNICORN = ["-m", "gunicorn", "site_app:wsgi", "--workers", "2", "--config", "python:gunicorn_conf", "--graceful-timeout", "30"]
SERVERS = {
    "gunicorn": [*GUNICORN, "--bind", "127.0.0.1:{port}"],
    "gunicorn --preload": [*GUNICORN, "--preload", "--bind", "127.0.0.1:{port}"],
    "uvicorn": ["-m", "uvicorn", "site_app:asgi", "--workers", "2", "--port", "{port}"],
}


class Site:
    """One server with two workers."""

    def __init__(self, folder: Path, arguments: list[str], reports: str) -> None:
        (folder / "site_app.py").write_text(SITE)
        (folder / "gunicorn_conf.py").write_text(HOOK)
        self.port = free_port()
        self.log = folder / "server.log"
        paths = os.pathsep.join([str(folder), str(HOUSE)])
        environment = os.environ | {"REPORTS": reports, "PYTHONPATH": paths, "RECOVERY_DATA_DIR": str(folder / "data")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, *(argument.format(port=self.port) for argument in arguments)],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread of a test runs yet when a server starts
            )

    def ask(self, path: str) -> int:
        """Return the process that answered."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as response:
                return int(response.read())
        except (OSError, ValueError) as error:
            raise AssertionError(str(error)) from error

    def two_workers(self, besides: frozenset[int] = frozenset()) -> set[int]:
        """Make two workers report and return them."""
        found: set[int] = set()

        def both() -> bool:
            found.add(self.ask("/report"))
            return len(found - besides) == 2

        eventually(both, within=90, message=self.log.read_text)
        return found - besides


@contextmanager
def serving(folder: Path, kind: str, reports: str) -> Iterator[Site]:
    site = Site(folder, SERVERS[kind], reports)
    try:
        eventually(lambda: site.ask("/"), within=90, message=site.log.read_text)
        yield site
    finally:
        if site.process.poll() is None:
            children = psutil.Process(site.process.pid).children(recursive=True)
            site.process.kill()
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
        site.process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_every_worker_reports_and_says_its_last_words(kind: str, valkey_url: str, redis_client: Redis, tmp_path: Path) -> None:
    def said(what: str) -> set[int]:
        return {int(failure.message.rpartition(" ")[2]) for failure in failures(redis_client) if failure.message.startswith(what)}

    with serving(tmp_path, kind, valkey_url) as site:
        first = site.two_workers()
        eventually(lambda: said("request") >= first)

        killed = min(first)
        os.kill(killed, signal.SIGKILL)
        replaced = site.two_workers(frozenset({killed}))
        assert max(first) in replaced, "only the killed one was replaced"
        eventually(lambda: said("request") >= first | replaced)

        site.process.terminate()
        assert site.process.wait(60) in {0, -signal.SIGTERM}, site.log.read_text()

    eventually(lambda: said("last words") == replaced, message=lambda: f"{replaced}: {failures(redis_client)} {site.log.read_text()}")
    assert len({failure.id for failure in failures(redis_client)}) == len(failures(redis_client)), "nothing is sent twice"
    importers = said("import")
    assert len(importers) == (1 if kind.endswith("preload") else 3), "a child does not send again what its parent reported"
    sources = {failure.source for failure in failures(redis_client) if failure.message.startswith("request")}
    assert len(sources) == (1 if kind.endswith("preload") else 3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_whose_redis_hangs_serves_and_ends_as_ever(kind: str, tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        with serving(tmp_path, kind, f"redis://127.0.0.1:{listener.getsockname()[1]}") as site:
            site.two_workers()

            site.process.terminate()

            assert site.process.wait(60) in {0, -signal.SIGTERM}, site.log.read_text()
    (spool,) = (tmp_path / "data" / "spool").glob("*.db")
    assert spool.stat().st_size > 0
