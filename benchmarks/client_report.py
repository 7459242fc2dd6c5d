"""What it costs a service to report a failure, on its own thread: `RecoveryClient.report` beside Celery's `send_task`.

With the broker running, refusing connections, and hanging (it accepts them and never answers).
"""

import contextlib
import multiprocessing
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from celery import Celery

from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.client import RecoveryClient
from tests.support import ValkeyServer

NAME = "client"
CALLS = 1_000
BURST, BURSTS = 10_000, 5
"""Reports made at once, as many as the client's memory holds, until they are in the stream; and how often."""
PAUSE = 0.001
"""Seconds between two calls: a service that is broken all the time still does something else."""
TARGET = 50.0
"""Microseconds that a report may cost its caller, in the median, whatever the broker does."""
TARGET_AWAY = 1.0
"""Seconds that no call may exceed while the broker is away."""
TARGET_BURST = 50.0
"""Microseconds per report from its call until it is in the stream: 20,000 a second."""
PATIENCE = 8.0
"""Seconds after which a call that does not return is given up."""
Prepare = Callable[[str, Path], Callable[[], object]]
"""Makes the call that is timed, from the URL of the broker and a folder."""
FAILURE = {"service": "quick", "category": "service_unavailable", "message": "benchmark"}


def measure() -> list[Result]:
    """Return microseconds per call with the broker running, and seconds with the broker away."""
    progress(f"{NAME}: {CALLS} reports, then with the broker away")
    with tempfile.TemporaryDirectory(prefix="rcv-") as made:
        server = ValkeyServer(Path(made))
        server.start()
        try:
            return [*_running(server), *_away(server)]
        finally:
            server.kill()


def _running(server: ValkeyServer) -> list[Result]:
    celery, client, raised = (
        [seconds * 1e6 for seconds in _calls(prepare, server.url, server.home, CALLS)]
        for prepare in (_send_task, _client_report, _client_exception)
    )
    bursts = [seconds / BURST * 1e6 for seconds in _calls(_client_burst, server.url, server.home, BURSTS)]
    rate = f"{1e6 / median(bursts):,.0f} reports a second"
    return [
        summed(NAME, "Celery send_task", celery, "µs"),
        summed(NAME, "RecoveryClient.report, a text", client, "µs", TARGET),
        summed(NAME, "RecoveryClient.report, an exception with its stack", raised, "µs", TARGET),
        summed(NAME, f"{BURST:,} reports at once until all are in the stream, each", bursts, "µs", TARGET_BURST, rate),
    ]


def _away(server: ValkeyServer) -> list[Result]:
    refused = f"unix://{server.home / 'nobody.sock'}"
    results = []
    for state, url in (("refusing", refused), ("hanging", server.url)):
        with _frozen(server, state == "hanging"):
            ours = _calls(_client_report, url, server.home, CALLS)
            theirs = _calls(_send_task, url, server.home, 1)
        given_up = f"given up after {PATIENCE:g} s" if theirs[0] >= PATIENCE else "then it raises"
        results += [
            summed(NAME, f"broker {state}: RecoveryClient.report", [seconds * 1e6 for seconds in ours], "µs", TARGET),
            Result(NAME, f"broker {state}: longest RecoveryClient.report", max(ours), "s", TARGET_AWAY, f"n={len(ours)}"),
            Result(NAME, f"broker {state}: Celery send_task", theirs[0], "s", note=given_up),
        ]
    return results


@contextmanager
def _frozen(server: ValkeyServer, frozen: bool) -> Iterator[None]:  # noqa: FBT001
    if frozen:
        server.signal(signal.SIGSTOP)
    yield
    if frozen:
        server.signal(signal.SIGCONT)


def _calls(prepare: Prepare, url: str, folder: Path, count: int) -> list[float]:
    """Time `count` calls in a process of their own, which is killed if one of them does not return."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_time_calls, args=(prepare, url, folder, count, sender), daemon=True)
    process.start()
    began: float | None = None
    try:
        assert receiver.poll(30), "the process did not start"
        receiver.recv()
        began = time.monotonic()
        return list(receiver.recv()) if receiver.poll(PATIENCE + count * 0.1) else [time.monotonic() - began]
    finally:
        process.kill()
        process.join()
        receiver.close()
        sender.close()


def _time_calls(prepare: Prepare, url: str, folder: Path, count: int, answer: Any) -> None:
    call = prepare(url, folder)
    answer.send("ready")
    times = []
    for _ in range(count):
        time.sleep(PAUSE)
        began = time.perf_counter()
        with contextlib.suppress(Exception):  # how long it takes to fail is the question
            call()
        times.append(time.perf_counter() - began)
    answer.send(times)


def _send_task(url: str, _folder: Path) -> Callable[[], object]:
    app = Celery("producer", broker=url.replace("unix://", "redis+socket://"))
    return lambda: app.send_task("recovery.report_failure", kwargs=FAILURE, queue="failures")


def _client_report(url: str, folder: Path) -> Callable[[], object]:
    client = RecoveryClient(url, spool=folder / "spool")
    return lambda: client.report("quick", "benchmark", category="service_unavailable")


def _client_burst(url: str, folder: Path) -> Callable[[], object]:
    client = RecoveryClient(url, spool=folder / "spool")

    def call() -> None:
        due = client.stats().sent + BURST
        for _ in range(BURST):
            client.report("quick", "benchmark", category="service_unavailable")
        while client.stats().sent < due:
            time.sleep(0.001)

    return call


def _client_exception(url: str, folder: Path) -> Callable[[], object]:
    client = RecoveryClient(url, spool=folder / "spool")

    def fail() -> None:
        raise ValueError("benchmark")

    def call() -> str:
        try:
            fail()
        except ValueError as error:
            return client.report("quick", error, category="service_unavailable")
        return ""

    return call


if __name__ == "__main__":
    run([], [measure])
