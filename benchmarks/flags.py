"""What it costs a service to ask for a flag: through OpenFeature beside the SDK's own in-memory provider, and directly.

Ours reads a view that a running server feeds. The in-memory provider's flag is its cheapest: fixed, without targeting.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider
from redis import Redis

from benchmarks.results import Result, progress, summed
from benchmarks.run import run
from recovery.client import RecoveryClient
from recovery.client.openfeature import RecoveryProvider
from recovery.degrade import RedisDegradations
from recovery.models import Degradation, Level, utcnow
from tests.support import ValkeyServer, eventually

NAME = "flags"
ROUNDS, BATCH = 120, 100
DEARER = 1.5
"""The target: times the in-memory provider's cost."""
NORMAL, OFF, RAMPING = "comments", "suggestions", "newsletter"
STATES = {"normal": NORMAL, "switched off": OFF, "during a ramp": RAMPING}
CONTEXT = EvaluationContext("user-17")
PEER = "in-memory provider"
Call = Callable[[], object]


def measure() -> list[Result]:
    """Return microseconds per question."""
    progress(f"{NAME}: {ROUNDS} rounds of {BATCH} questions each, in turn")
    with tempfile.TemporaryDirectory(prefix="rcv-") as made:
        server = ValkeyServer(Path(made))
        server.start()
        try:
            with RecoveryClient(server.url, spool=Path(made) / "spool") as client:
                _degrade(server.url, client)
                api.set_provider_and_wait(RecoveryProvider(client), "ours")
                api.set_provider_and_wait(_peer(), "peer")
                ours, peer = api.get_client("ours"), api.get_client("peer")
                return [*_through_openfeature(ours, peer), *asyncio.run(_in_asyncio(ours, peer)), *_directly(client)]
        finally:
            api.shutdown()
            server.kill()


def _degrade(url: str, client: RecoveryClient) -> None:
    """Switch one feature off, and have another come back for half of the callers."""
    now = utcnow()
    over, later = now - timedelta(seconds=1), now + timedelta(hours=1)
    with Redis.from_url(url) as redis:
        degradations = RedisDegradations(redis)
        degradations.put(Degradation("search", Level.LIMITED, now, later, (OFF,), {"indexing": 20}))
        degradations.put(Degradation("mail", Level.PARTIAL, now, over, (RAMPING,), {"delivery": 20}, ramp=(50,), ramp_stage=3_600.0))
    eventually(lambda: len(client.flags.in_force()) == len((OFF, RAMPING)))


def _peer() -> InMemoryProvider:
    on = InMemoryFlag("on", {"on": True, "off": False})
    return InMemoryProvider(dict.fromkeys(STATES.values(), on) | {"indexing": InMemoryFlag("full", {"full": 100})})


def _through_openfeature(ours: OpenFeatureClient, peer: OpenFeatureClient) -> list[Result]:
    booleans: dict[str, Call] = {PEER: partial(peer.get_boolean_details, NORMAL, default_value=True, evaluation_context=CONTEXT)}
    for state, feature in STATES.items():
        booleans[f"ours, {state}"] = partial(ours.get_boolean_details, feature, default_value=True, evaluation_context=CONTEXT)
    integers: dict[str, Call] = {
        PEER: partial(peer.get_integer_details, "indexing", 100, CONTEXT),
        "ours, limited": partial(ours.get_integer_details, "indexing", 100, CONTEXT),
    }
    return [*_compared("OpenFeature, boolean: ", _in_turn(booleans)), *_compared("OpenFeature, integer: ", _in_turn(integers))]


async def _in_asyncio(ours: OpenFeatureClient, peer: OpenFeatureClient) -> list[Result]:
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        PEER: partial(peer.get_boolean_details_async, NORMAL, default_value=True, evaluation_context=CONTEXT),
        "ours, normal": partial(ours.get_boolean_details_async, NORMAL, default_value=True, evaluation_context=CONTEXT),
        "ours, switched off": partial(ours.get_boolean_details_async, OFF, default_value=True, evaluation_context=CONTEXT),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(BATCH):
                await call()
            times[name].append((time.perf_counter() - began) / BATCH * 1e6)
    return _compared("OpenFeature, boolean, asyncio: ", times)


def _directly(client: RecoveryClient) -> list[Result]:
    calls: dict[str, Call] = {
        f"enabled, {state}": partial(client.flags.enabled, feature, key="user-17") for state, feature in STATES.items()
    }
    calls["capability, limited"] = partial(client.flags.capability, "indexing")
    return [summed(NAME, f"client.flags.{name}", values, "µs") for name, values in _in_turn(calls).items()]


def _in_turn(calls: dict[str, Call]) -> dict[str, list[float]]:
    """Return microseconds per call; each in turn, so that what else the machine does meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(BATCH):
                call()
            times[name].append((time.perf_counter() - began) / BATCH * 1e6)
    return times


def _compared(what: str, times: dict[str, list[float]]) -> list[Result]:
    floor = median(times[PEER])
    results = [summed(NAME, what + PEER, times[PEER], "µs")]
    for name, values in times.items():
        if name != PEER:
            ratio = f"{median(values) / floor:.2f} x the {PEER}"
            results.append(summed(NAME, what + name, values, "µs", DEARER * floor, ratio))
    return results


if __name__ == "__main__":
    run([], [measure])
