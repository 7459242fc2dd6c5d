"""One platform for all acceptance tests that can share it; each test breaks a patient of its own and leaves it well."""

from collections.abc import Iterator

import pytest

from tests.sickbed import Patient
from tests.stage import Stage

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


def patients() -> list[Patient]:
    return [
        Patient("web", "healthy_for = 0"),
        Patient("anvil", "healthy_for = 0"),
        Patient("calm", "healthy_for = 0\ncooldown = { restart = 15 }"),
        Patient("search", 'healthy_for = 0\nplan = { service_unavailable = ["degrade"] }', DEGRADE),
        Patient("shadow", "dry_run = true"),
        Patient("stubborn", "healthy_for = 0\nverify_timeout = 2"),
    ]


@pytest.fixture(scope="session")
def running() -> Iterator[Stage]:
    with Stage(patients(), PLATFORM) as stage:
        yield stage


@pytest.fixture
def stage(running: Stage) -> Stage:
    """The shared platform, with every patient well."""
    for patient in running.patients.values():
        patient.heal()
    running.await_healthy(within=90)
    return running
