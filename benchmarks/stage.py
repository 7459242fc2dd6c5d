"""The platform that is measured: `recovery up` with two services that start in 0.1 s and are checked every second."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.sickbed import Patient
from tests.stage import Stage

PLATFORM = """
[platform]
cooldown = 0
max_attempts = 1000
flap_high = 101
"""
ASKED = "asked"
BOOT = 0.1
"""Seconds from a patient's start until it answers."""


def measured() -> Stage:
    """Return the stage.

    `quick` counts as well after one good look, `usual` after a second of health, the default; recoveries of the third wait
    for somebody's yes, and so are there to merge reports into.
    """
    asks = 'autonomy = "approve"'
    patients = [Patient("quick", "healthy_for = 0", boot=BOOT), Patient("usual", boot=BOOT), Patient(ASKED, asks, boot=BOOT)]
    return Stage(patients, PLATFORM)


@contextmanager
def folder() -> Iterator[Path]:
    """Make a folder for a peer."""
    with tempfile.TemporaryDirectory(prefix="rcv-") as made:
        yield Path(made)
