"""What a circuit breaker costs its callers, beside circuitbreaker, purgatory and pybreaker.

Ours are the fleet's, connected to a running server, and keep a window of calls; the peers keep their state in memory and a run.
"""

import asyncio
import contextlib
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from threading import Thread

import psutil
import pybreaker
from circuitbreaker import CircuitBreaker  # type: ignore[import-untyped]
from purgatory import AsyncCircuitBreakerFactory, SyncCircuitBreakerFactory

from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.breaker.options import BreakerSettings
from recovery.client import Breaker, RecoveryClient
from tests.support import ValkeyServer, eventually

NAME = "breaker"
ROUNDS, BATCH = 150, 1_000
REJECTS, REJECTS_OF_PEERS = 1_000_000, 20_000
FLAT = 2.0
"""Bytes that a rejected call may leave behind: one MiB in a million is the allocator's own noise."""
THREADED = {8: 100, 100: 40}
"""How many calls each of so many threads makes in a round."""
THREADED_ROUNDS = 44
SLOWER = 1.05
"""The target: the time of calls in threads, in times without a breaker."""
WINDOWS: dict[str, BreakerSettings] = {
    "failure rate over 100 calls": {"failure_rate": 0.5},
    "failure rate over 10 s": {"failure_rate": 0.5, "window_seconds": 10},
    "rates of failures and slow calls over 100 calls": {"failure_rate": 0.5, "slow_call_duration": 1.0},
    "rates of failures and slow calls over 10 s": {"failure_rate": 0.5, "slow_call_duration": 1.0, "window_seconds": 10},
}
FULL: BreakerSettings = {"failure_rate": 0.5, "slow_call_duration": 1.0, "window_seconds": 10}
Call = Callable[[], object]


def work() -> int:
    """Do nothing, successfully."""
    return 1


async def work_async() -> int:
    """Do nothing, successfully."""
    return 1


def boom() -> None:
    """Fail."""
    raise ValueError


def wait() -> None:
    """Take a millisecond."""
    time.sleep(0.001)


def measure() -> list[Result]:
    """Return microseconds per call, bytes per rejected call, and what threads lose."""
    progress(f"{NAME}: {ROUNDS} rounds of {BATCH} calls each, in turn; a million rejected calls; threads")
    with tempfile.TemporaryDirectory(prefix="rcv-") as made:
        server = ValkeyServer(Path(made))
        server.start()
        try:
            with RecoveryClient(server.url, spool=Path(made) / "spool") as client:
                refused = _open_ones(client)
                rejected = _compared("rejected: ", _in_turn(refused), {"ours": "circuitbreaker"})
                return [*_closed(client), *_closed_async(client), *rejected, *_memory(refused), *_threads(client)]
        finally:
            server.kill()


def _breaker(client: RecoveryClient, name: str, settings: BreakerSettings) -> Breaker:
    breaker = client.breaker(name, **settings)
    eventually(lambda: client._link.connected, message="the breakers are the fleet's")  # noqa: SLF001
    return breaker


# --- closed -------------------------------------------------------------------------------------------------------------


def _closed(client: RecoveryClient) -> list[Result]:
    peer, other, locked = CircuitBreaker(name="peer"), SyncCircuitBreakerFactory(), pybreaker.CircuitBreaker()
    calls: dict[str, Call] = {
        "no breaker": work,
        "circuitbreaker, decorator": peer(work),
        "circuitbreaker, call": partial(peer.call, work),
        "purgatory, decorator": other("peer")(work),
        "pybreaker, decorator": locked(work),
        "pybreaker, call": partial(locked.call, work),
    }
    targets = {}
    for number, (window, settings) in enumerate(WINDOWS.items()):
        breaker = _breaker(client, f"closed-{number}", settings)
        ways: dict[str, Call] = {"decorator": breaker(work), "call": partial(breaker.call, work)}
        for way, call in ways.items():
            calls[f"ours, {way}: {window}"] = call
            targets[f"ours, {way}: {window}"] = f"circuitbreaker, {way}"
    return _compared("closed, sync: ", _in_turn(calls), targets)


def _closed_async(client: RecoveryClient) -> list[Result]:
    other = AsyncCircuitBreakerFactory()
    breaker = _breaker(client, "closed-async", FULL)
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "no breaker": work_async,
        "circuitbreaker": CircuitBreaker(name="peer-async")(work_async),
        "purgatory": other("peer")(work_async),
        "ours, decorator": breaker(work_async),
        "ours, acall": partial(breaker.acall, work_async),
    }

    async def rounds() -> dict[str, list[float]]:
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began = time.perf_counter()
                for _ in range(BATCH):
                    await call()
                times[name].append((time.perf_counter() - began) / BATCH * 1e6)
        return times

    targets = {"ours, decorator": "circuitbreaker", "ours, acall": "circuitbreaker"}
    return _compared("closed, asyncio: ", asyncio.run(rounds()), targets)


# --- open ---------------------------------------------------------------------------------------------------------------


def _open_ones(client: RecoveryClient) -> dict[str, Call]:
    """Return one refused call of each."""
    breaker = _breaker(client, "open", {**FULL, "reset_timeout": 3_600, "max_reset_timeout": 3_600})
    locked = pybreaker.CircuitBreaker(reset_timeout=3_600)
    calls: dict[str, Call] = {
        "circuitbreaker": CircuitBreaker(name="peer-open", recovery_timeout=3_600)(boom),
        "purgatory": SyncCircuitBreakerFactory(default_ttl=3_600)("peer-open")(boom),
        "pybreaker": locked(boom),
        "ours": breaker(boom),
    }
    for call in calls.values():
        for _ in range(5):
            with contextlib.suppress(ValueError, pybreaker.CircuitBreakerError):
                call()
    assert breaker.state == "open"
    return {name: partial(_refused, call) for name, call in calls.items()}


def _refused(call: Call) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001 - each peer has its own
        return
    raise AssertionError("the call was not refused")


def _memory(refused: Mapping[str, Call]) -> list[Result]:
    process = psutil.Process()
    results = []
    for name, call in refused.items():
        count = REJECTS if name == "ours" else REJECTS_OF_PEERS
        for _ in range(1_000):
            call()
        gc.collect()
        before = process.memory_info().rss
        for _ in range(count):
            call()
        gc.collect()
        left = max(0.0, (process.memory_info().rss - before) / count)
        results.append(Result(NAME, f"memory per rejected call: {name}", left, "bytes", FLAT if name == "ours" else None, f"n={count:,}"))
    return results


# --- threads ------------------------------------------------------------------------------------------------------------


def _threads(client: RecoveryClient) -> list[Result]:
    results = []
    for threads, each in THREADED.items():
        calls: dict[str, Call] = {
            "no breaker": wait,
            "a function that only reads the clock": _timing(wait),
            "circuitbreaker": CircuitBreaker(name="threads")(wait),
            "ours": _breaker(client, "threads", FULL)(wait),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(THREADED_ROUNDS):
            first = turn % len(calls)
            for name in [*calls][first:] + [*calls][:first]:  # each comes first as often as last
                times[name].append(_together(calls[name], threads, each))
        bare = times.pop("no breaker")
        plain = median(bare)
        ratios = {name: [seconds / beside for seconds, beside in zip(values, bare, strict=True)] for name, values in times.items()}
        few = max(1, each // 20)  # it lets one call through at a time
        ratios["pybreaker"] = [_together(pybreaker.CircuitBreaker()(wait), threads, few) / few * each / plain]
        results += [
            summed(
                NAME, f"{threads} threads, calls of 1 ms: {name}", values, "x", SLOWER if name == "ours" else None, "of the time without"
            )
            for name, values in ratios.items()
        ]
    return results


def _timing(function: Callable[[], None]) -> Call:
    """Return the floor: the least that can time a call in Python."""

    def timing() -> float:
        began = time.monotonic()
        function()
        return time.monotonic() - began

    return timing


def _together(call: Call, threads: int, each: int) -> float:
    """Return the seconds that so many threads take for so many calls each."""

    def work_on() -> None:
        for _ in range(each):
            call()

    workers = [Thread(target=work_on) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - began


# --- timing -------------------------------------------------------------------------------------------------------------


def _in_turn(calls: Mapping[str, Call]) -> dict[str, list[float]]:
    """Return microseconds per call; each in turn, so that what else the machine does meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    with _no_collection():
        for _ in range(ROUNDS):
            for name, call in calls.items():
                began = time.perf_counter()
                for _ in range(BATCH):
                    call()
                times[name].append((time.perf_counter() - began) / BATCH * 1e6)
    return times


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _compared(what: str, times: Mapping[str, Sequence[float]], targets: Mapping[str, str]) -> list[Result]:
    return [
        summed(NAME, what + name, values, "µs", median(times[targets[name]]) if name in targets else None) for name, values in times.items()
    ]


if __name__ == "__main__":
    run([], [measure])
