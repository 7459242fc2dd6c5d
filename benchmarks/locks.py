"""What a cooldown lock with a holder costs, beside the one round trip that nobody can do without, and beside redis-py's own lock."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.store.connect import connect
from recovery.store.cooldowns import RedisCooldowns
from tests.support import ValkeyServer

NAME = "locks"
ROUNDS = 2_000
HELD, LOST = 2.0, 1.3
"""The targets: taking and freeing a lock, and failing to take one, in round trips of one GET."""


def measure() -> list[Result]:
    """Return microseconds, all of them measured in turn on one connection each."""
    progress(f"{NAME}: {ROUNDS} of each")
    with tempfile.TemporaryDirectory(prefix="rcv-") as made:
        server = ValkeyServer(Path(made))
        server.start()
        try:
            return _measured(server.url)
        finally:
            server.kill()


def _measured(url: str) -> list[Result]:
    redis = connect(url)
    cooldowns = RedisCooldowns(redis)
    redis.set("something", "x")
    assert cooldowns.acquire("taken", "restart", "somebody", 60.0)
    theirs = redis.lock("recovery:benchmark", timeout=60.0, blocking=False)

    def ours() -> None:
        assert cooldowns.acquire("web", "restart", "me", 60.0)
        cooldowns.release("web", "restart", "me")

    def losing() -> None:
        assert not cooldowns.acquire("taken", "restart", "me", 60.0)

    def redis_py() -> None:
        assert theirs.acquire()
        theirs.release()

    times = _in_turn({"get": lambda: redis.get("something"), "ours": ours, "losing": losing, "theirs": redis_py})
    trip = median(times["get"])
    in_trips = {name: f"{median(values) / trip:.2f} round trips" for name, values in times.items()}
    return [
        summed(NAME, "one round trip: GET", times["get"], "µs"),
        summed(NAME, "cooldown lock with its holder, taken and freed", times["ours"], "µs", HELD * trip, in_trips["ours"]),
        summed(NAME, "cooldown lock, not to be had", times["losing"], "µs", LOST * trip, in_trips["losing"]),
        summed(NAME, "redis-py's Lock, taken and freed", times["theirs"], "µs", note=in_trips["theirs"]),
    ]


def _in_turn(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Time the calls one after another, again and again, so that whatever else the machine does hits all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - began) * 1e6)
    return times


if __name__ == "__main__":
    run([], [measure])
