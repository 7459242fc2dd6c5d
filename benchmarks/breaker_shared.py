"""What it costs to share a circuit breaker over a fleet, beside pybreaker's Redis storage, and how soon the others know."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import pybreaker
from redis import Redis

from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.breaker import Breaker
from recovery.client import CircuitOpen, RecoveryClient
from tests.support import ValkeyServer, eventually

NAME = "breaker, shared"
CALLS, PEER_CALLS, RUNS = 50_000, 1_000, 5
OPENINGS = 51
SHARE = 200
"""Our call costs at most this part of pybreaker's."""
PUSH = 2.0
"""Milliseconds from an opening in one process to the first rejection in another, at most, in the median."""


def measure() -> list[Result]:
    """Return microseconds per call, commands per call, and milliseconds until another process refuses."""
    progress(f"{NAME}: {RUNS} x {CALLS} calls, {OPENINGS} openings")
    with tempfile.TemporaryDirectory(prefix="rcv-") as made:
        server = ValkeyServer(Path(made))
        server.start()
        try:
            peer = [_peer_call(server) for _ in range(RUNS)]
            return [
                summed(NAME, "pybreaker with Redis storage, one call", peer, "µs"),
                *_ours(server, median(peer)),
                summed(NAME, "opening here to rejection in another process", _pushes(server), "ms", PUSH),
            ]
        finally:
            server.kill()


def _peer_call(server: ValkeyServer) -> float:
    with Redis.from_url(server.url) as redis:
        storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, redis, namespace="peer")
        breaker = pybreaker.CircuitBreaker(fail_max=5, state_storage=storage)
        return _per_call(lambda: breaker.call(abs, 1), PEER_CALLS)


def _ours(server: ValkeyServer, peer: float) -> list[Result]:
    """Time closed and open calls of a breaker with a window over the fleet, and count what Redis is asked meanwhile."""
    with RecoveryClient(server.url, spool=server.home / "spool") as client, Redis.from_url(server.url) as redis:
        breaker = client.breaker("bench", failure_threshold=5, failure_rate=0.5, reset_timeout=600)
        assert client.warm_up(30)
        closed, told = _counted(redis, lambda: breaker.call(abs, 1))
        _open(breaker)
        eventually(lambda: breaker.state == "open")
        opened, asked = _counted(redis, lambda: _refused(breaker))
    calls = f"{CALLS * RUNS:,} calls; summaries and looks at everything go on in the background"
    return [
        summed(NAME, "ours, one call while closed, window over the fleet", closed, "µs", peer / SHARE, f"target: pybreaker / {SHARE}"),
        summed(NAME, "ours, one rejection", opened, "µs"),
        Result(NAME, "ours, Redis scripts per second while closed", told, "", 3, calls),
        Result(NAME, "ours, Redis scripts per second while open", asked, "", 3, calls),
    ]


def _counted(redis: Redis, call: Callable[[], object]) -> tuple[list[float], float]:
    """Return microseconds per call, and how many scripts Redis was asked for in a second of calls."""
    before, began = _scripts(redis), time.monotonic()
    took = [_per_call(call, CALLS) for _ in range(RUNS)]
    seconds = max(1.0, time.monotonic() - began)
    return took, (_scripts(redis) - before) / seconds


def _pushes(server: ValkeyServer) -> list[float]:
    """Time openings in this process until a loop of calls in another one is refused."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_call_for_ever, args=(server.url, str(server.home / "there"), theirs), daemon=True)
    process.start()
    try:
        with RecoveryClient(server.url, spool=server.home / "here") as client:
            breaker = client.breaker("pushed", failure_threshold=1, reset_timeout=600)
            assert client.warm_up(30)
            return [_push(breaker, ours) for _ in range(OPENINGS)]
    finally:
        process.kill()
        process.join()


def _push(breaker: Breaker, other: Connection) -> float:
    assert other.poll(60), "the other process sees it closed"
    other.recv()
    eventually(lambda: breaker.state == "closed")
    time.sleep(0.02)
    opened_at = time.monotonic()
    _open(breaker, 1)
    assert other.poll(60), "the other process is refused"
    refused_at: float = other.recv()
    breaker.reset()
    return (refused_at - opened_at) * 1_000


def _call_for_ever(url: str, spool: str, answer: Any) -> None:
    """Call through the breaker; tell that it is closed, and then the moment of the first rejection, again and again."""
    with RecoveryClient(url, spool=spool) as client:
        breaker = client.breaker("pushed", failure_threshold=1, reset_timeout=600)
        assert client.warm_up(30)
        while True:
            eventually(lambda: breaker.state == "closed", every=0.001)
            answer.send("closed")
            while not _refused(breaker):
                time.sleep(0.0001)
            answer.send(time.monotonic())


def _refused(breaker: Breaker) -> bool:
    try:
        breaker.call(abs, 1)
    except CircuitOpen:
        return True
    return False


def _open(breaker: Breaker, failures: int = 5) -> None:
    for _ in range(failures):
        try:
            breaker.call(int, "no number")
        except ValueError:
            continue


def _per_call(call: Callable[[], object], calls: int) -> float:
    """Return the microseconds of one call; what calls it costs as much for the peer as for us."""
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls * 1e6


def _scripts(redis: Redis) -> int:
    found: Any = redis.info("commandstats")
    return int(found.get("cmdstat_evalsha", {}).get("calls", 0))


if __name__ == "__main__":
    run([], [measure])
