"""What several files share: a recovery in the middle of a step, the processes of the platform, an outage."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from recovery.models import Outcome, Recovery, StepState, utcnow
from tests.servers.rooms import BROKER, REDIS
from tests.stage import Stage
from tests.support import eventually, freeze, is_dead

COOLDOWN = 20.0
"""Seconds between two restarts of the patient `calm`; a slow machine must be able to make it ill twice within them."""

ours_to_break = pytest.mark.skipif(bool(REDIS or BROKER), reason="the Redis or broker of this run is a server that others use, too")


def in_the_middle_of(stage: Stage, step: str) -> Recovery:
    """Make the anvil ill, and return when its restart is at `step` (`stop` or `ready`), which lasts until the anvil is released."""
    since = utcnow()
    stage.patients["anvil"].hold("boot" if step == "ready" else step)
    stage.patients["anvil"].ail("500")
    recovery = stage.opened("anvil", since)

    def at_work() -> bool:
        return any(row.name == step and row.state is StepState.STARTED for row in stage.store.steps(recovery.id))

    eventually(at_work, message=lambda: stage.tail(30))
    return recovery


def pool_child_at_work_on(stage: Stage, service: str) -> psutil.Process:
    """Return the process that holds the lease on `service`, which the lease names."""
    lease = stage.store.lease_of(service)
    assert lease is not None
    child = psutil.Process(int(lease.holder.split(":")[1]))
    assert child.parent() == stage.part("recover")
    return child


def assert_finished_with_one_start(stage: Stage, recovery: Recovery, starts: int) -> Recovery:
    closed = stage.closed("anvil", recovery.created_at, within=90)
    stage.await_healthy("anvil")
    assert (closed.id, closed.outcome) == (recovery.id, Outcome.RESOLVED)
    assert stage.patients["anvil"].starts == starts + 1
    assert stage.patients["anvil"].answers() == 200
    assert len(stage.history.recoveries(service="anvil", since=recovery.created_at)) == 1
    return closed


def mains(stage: Stage) -> dict[str, int]:
    """The processes of the workers and of beat: a fault that they survive does not change them."""
    return {name: stage.part(name).pid for name in ("intake", "recover", "health", "beat")}


def said(stage: Stage, text: str, after: int) -> None:
    eventually(lambda: text in stage.tail()[after:], 60, lambda: f"nobody said '{text}':\n{stage.tail()[after:]}")


def command(stage: Stage, *words: str) -> None:
    stage.redis.execute_command(*words)  # type: ignore[no-untyped-call]


@contextmanager
def outage(stage: Stage, seconds: float) -> Iterator[None]:
    """Kill the broker, and keep the supervisor from starting it again for so long."""
    server, supervisor = stage.part("valkey"), int((stage.settings.home / "up.lock").read_text())
    freeze(supervisor)
    try:
        server.kill()
        eventually(lambda: is_dead(server.pid))
        time.sleep(seconds)
        yield
    finally:
        os.kill(supervisor, signal.SIGCONT)
    eventually(lambda: stage.part("valkey").pid != server.pid, 60, stage.tail)
