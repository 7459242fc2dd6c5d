"""A user's own Celery app as tests run it: a real prefork worker on a real Valkey."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from celery import Celery
from redis import Redis

from recovery.models import Failure
from tests.streams import failures
from tests.support import ValkeyServer, die_with_parent, eventually

HOUSE = Path(__file__).resolve().parents[1]


class Shop:
    """A user's app with a prefork worker of its own, and the reports that came of it.

    `program` is the source of `shop.py`: it makes the Celery app `app` with the broker `BROKER`, a client of `REPORTS`, and a task
    `mail.send` that fails.
    """

    def __init__(self, folder: Path, server: ValkeyServer, program: str) -> None:
        self.log = folder / "worker.log"
        self.redis = Redis.from_url(server.url)
        (folder / "shop.py").write_text(program)
        broker = server.url.replace("unix://", "redis+socket://")
        self.app = Celery("asking", broker=broker, set_as_current=False)
        environment = os.environ | {"BROKER": broker, "REPORTS": server.url, "PYTHONPATH": os.pathsep.join([str(folder), str(HOUSE)])}
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "shop", "worker", "-c", "2", "-l", "INFO"],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 -- no thread of a test runs yet when a worker starts
            )
        eventually(lambda: "ready." in self.log.read_text(), within=60, message=self.log.read_text)

    def send(self, task: str, **options: object) -> str:
        return str(self.app.send_task(task, **options).id)

    def failure_of(self, task_id: str) -> Failure:
        """Return the one report about a task; a second one would be in the stream before that of a later task."""
        eventually(lambda: self.failures(task_id), within=60, message=self.log.read_text)
        self.failures(self.send("mail.send"), wait=True)
        (failure,) = self.failures(task_id)
        return failure

    def failures(self, task_id: str, *, wait: bool = False) -> list[Failure]:
        def found() -> list[Failure]:
            return [failure for failure in failures(self.redis) if failure.details["task_id"] == task_id]

        return eventually(found, within=60, message=self.log.read_text) if wait else found()

    def end(self) -> None:
        self.app.close()
        self.redis.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.worker.pid, signal.SIGKILL)
        self.worker.wait()


@contextlib.contextmanager
def opened(folder: Path, program: str) -> Iterator[Shop]:
    """Run a shop with a Valkey of its own."""
    home = Path(tempfile.mkdtemp(prefix="rcv-"))
    server = ValkeyServer(home)
    server.start()
    shop: Shop | None = None
    try:
        shop = Shop(folder, server, program)
        yield shop
    finally:
        if shop is not None:
            shop.end()
        server.kill()
        shutil.rmtree(home, ignore_errors=True)
