"""One platform for all acceptance tests that can share it; each test breaks a patient of its own and leaves it well."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.faults import COOLDOWN
from tests.sickbed import Patient
from tests.stage import Stage

HERE = Path(__file__).parent
PLATFORM = """
[platform]
lease = 4
cooldown = 0
max_attempts = 100
retry_failed_after = 2
"""

DEGRADE = """
[services.search.remedies.degrade]
features = ["search"]
reason = "search is down"
"""
GATE = """
[services.gate.remedies.circuit_reset]
breaker = "gate-calls"
"""


def patients() -> list[Patient]:
    return [
        Patient("web", "healthy_for = 0"),
        Patient("anvil", "healthy_for = 0"),
        Patient("calm", f"healthy_for = 0\ncooldown = {{ restart = {COOLDOWN:g} }}"),
        Patient("search", 'healthy_for = 0\nplan = { service_unavailable = ["degrade"] }', DEGRADE),
        Patient("shadow", "dry_run = true"),
        Patient("gate", "healthy_for = 0", GATE),
        Patient("stubborn", "healthy_for = 0\nverify_timeout = 2"),
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that share the platform after those that do not, so that it idles for nobody."""
    shared = {item.path for item in items if "running" in getattr(item, "fixturenames", ())}
    places = [place for place, item in enumerate(items) if item.path.parent == HERE]
    for place, item in zip(places, sorted((items[place] for place in places), key=lambda item: item.path in shared), strict=True):
        items[place] = item


@pytest.fixture(scope="package")
def running() -> Iterator[Stage]:
    """The platform itself, from the first test of this folder that asks for it to the last test of this folder."""
    with Stage(patients(), PLATFORM) as stage:
        yield stage


@pytest.fixture
def stage(running: Stage) -> Stage:
    """The shared platform, with every patient well."""
    for patient in running.patients.values():
        patient.heal()
    running.await_healthy(within=90)
    return running
