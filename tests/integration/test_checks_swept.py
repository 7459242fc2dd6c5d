"""Whole sweeps over real servers that are killed and frozen."""

import subprocess
import sys
from pathlib import Path

from recovery.config.fleet import Fleet
from recovery.detect.checks import check_kinds
from recovery.detect.sweep import Sweeper, Swept
from recovery.models import Category, FailureType
from recovery.store.memory import MemoryStore
from tests.probing import NoBeats, fleet_of
from tests.support import eventually, free_port, freeze


def next_sweep(sweeper: Sweeper, fleet: Fleet) -> Swept:
    """Sweep as soon as the claim of the sweep before allows it."""

    def claimed() -> Swept | None:
        swept = sweeper.run(fleet, 1)
        return swept if swept.claimed else None

    swept = eventually(claimed)
    assert swept is not None
    return swept


def test_a_sweep_sees_a_killed_server_at_the_next_look(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    fleet = fleet_of("http", {"url": f"http://127.0.0.1:{port}/"}, seconds=10.0)
    sweeper = Sweeper(MemoryStore(), check_kinds(), NoBeats())
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: sweeper.run(fleet, 1).healthy == {"shop"}, within=60)
        finally:
            server.kill()
            server.wait()

        swept = next_sweep(sweeper, fleet)

    assert [failure.category for failure in swept.unhealthy] == [Category.SERVICE_UNAVAILABLE]


def test_a_sweep_sees_a_frozen_server_within_the_timeout(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    fleet = fleet_of("http", {"url": f"http://127.0.0.1:{port}/"}, seconds=0.5)
    sweeper = Sweeper(MemoryStore(), check_kinds(), NoBeats())
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: sweeper.run(fleet, 1).healthy == {"shop"}, within=60)
            freeze(server.pid)

            swept = next_sweep(sweeper, fleet)
        finally:
            server.kill()

    (failure,) = swept.unhealthy
    assert (failure.type, failure.message) == (FailureType.TIMEOUT, "main: no answer within 0.5 s")
