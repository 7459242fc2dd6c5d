"""Faults that need a platform of their own: a disk that is full, a clock that is set, an end under load."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from recovery.models import Outcome, utcnow
from recovery.store.schema import failures
from tests.acceptance.faults import mains
from tests.servers.rooms import BROKER, POSTGRES, REDIS
from tests.sickbed import Patient
from tests.stage import UP, Stage
from tests.support import eventually, is_dead

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(POSTGRES or REDIS or BROKER), reason="the disk, the clock and the broker are those of one machine"),
]

PLATFORM = "[platform]\nlease = 4\ncooldown = 0\nmax_attempts = 100\nretry_failed_after = 2\nbudget = { percent = 100 }\n"
DISK = "48m"
"""Holds the database and the broker's file many times over."""
REPORTS = 200
END = 40.0
"""Seconds in which an end is promised: remedies get 25 of them, then all is killed; the rest is for a machine under load."""
SOON = 120.0
"""Seconds in which things go on after the clock was set by 300: nobody waited for the old time to come again."""
CLOCK = '''
"""Python imports this before anything else: the wall clock of this process is off by what a file says."""
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import recovery.models
import recovery.models.words

OFFSET = Path({offset!r})
now = time.time

def offset():
    return float(OFFSET.read_text() or 0)

def utcnow():
    return datetime.now(UTC) + timedelta(seconds=offset())

time.time = lambda: now() + offset()
recovery.models.utcnow = recovery.models.words.utcnow = utcnow
'''


@pytest.fixture(scope="module")
def small_disk() -> Iterator[Stage]:
    """A platform whose data folder is a small disk of its own, and whose clock a file sets."""
    patients = [Patient(name, "healthy_for = 0") for name in ("web", "anvil", "shop")]
    stage = Stage(patients, PLATFORM, up=False)
    (stage.folder / "offset").write_text("0")
    (stage.folder / "sitecustomize.py").write_text(CLOCK.format(offset=str(stage.folder / "offset")))
    stage.environ["PYTHONPATH"] = f"{stage.folder}:{stage.environ['PYTHONPATH']}"
    home = stage.settings.home
    home.mkdir(mode=0o700)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "none", str(home)], capture_output=True, check=False)
    try:
        with stage:
            stage.open()
            stage.environ["DISK"] = "" if mounted.returncode else "small"
            yield stage
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "--lazy", str(home)], check=True)
            home.rmdir()
            stage.folder.rmdir()


@pytest.fixture
def stage(small_disk: Stage) -> Stage:
    for patient in small_disk.patients.values():
        patient.heal()
    small_disk.await_healthy(within=90)
    return small_disk


def test_fault_14_a_disk_that_is_full_for_a_while_loses_nothing_and_is_told(stage: Stage) -> None:
    if not stage.environ["DISK"]:
        pytest.skip("only root may mount a disk that is small enough to be filled")
    before, web, since = mains(stage), stage.patients["web"], utcnow()
    starts, mark = web.starts, len(stage.tail())
    filler = stage.settings.home / "filler"

    fill(filler)
    web.kill()
    eventually(lambda: "disk is full" in stage.tail()[mark:], 60, stage.tail)
    status = stage.recovery("status", code=None)
    trigger = stage.recovery("trigger", "anvil", code=None)
    filler.unlink()

    assert "3 services" in status.stdout
    assert trigger.returncode in {0, 5, 6}, trigger.stderr
    assert "Traceback" not in trigger.stderr + status.stderr
    assert stage.closed("web", since, within=120).outcome is Outcome.RESOLVED
    assert web.starts == starts + 1
    assert mains(stage) == before


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as rest:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    rest.write(bytes(size))
            except OSError:
                continue


@pytest.mark.parametrize("step", [300, -300])
def test_fault_19_a_clock_that_is_set_by_five_minutes_neither_repeats_nor_skips(stage: Stage, step: int) -> None:
    before, offset = mains(stage), stage.folder / "offset"
    web, anvil = stage.patients["web"], stage.patients["anvil"]
    starts, known = (web.starts, anvil.starts), {each.id for each in stage.history.recoveries(service="web")}
    anvil.hold("boot")
    stage.send("recovery.trigger", service="anvil", strategy="restart")
    eventually(lambda: anvil.starts == starts[1] + 1, 60, stage.tail)

    offset.write_text(str(step))
    killed = utcnow()
    web.kill()
    anvil.release()

    eventually(lambda: web.starts == starts[0] + 1 and web.answers() == 200, SOON, stage.tail)
    eventually(lambda: not stage.store.open_recoveries(), SOON, stage.tail)
    opened = [each.created_at for each in stage.history.recoveries(service="web") if each.id not in known]
    assert any(abs((moment - killed).total_seconds() - step) <= SOON for moment in opened), "the platform's clock really was set"
    offset.write_text("0")
    stage.await_healthy(within=90)
    assert (web.starts, anvil.starts) == (starts[0] + 1, starts[1] + 1)
    assert mains(stage) == before


def test_fault_10_an_end_under_load_comes_soon_and_loses_nothing(stage: Stage) -> None:
    starts, since, slow = {name: each.starts for name, each in stage.patients.items()}, utcnow(), ("web", "anvil")
    for name in slow:
        stage.patients[name].hold("boot")
        stage.send("recovery.trigger", service=name, strategy="restart")
    eventually(lambda: all(stage.patients[name].starts == starts[name] + 1 for name in slow), 60, stage.tail)
    for number in range(REPORTS):
        stage.send("recovery.report_failure", service="web", category="service_unavailable", message=f"under load, {number}")
    stage.patients["shop"].kill()

    supervisor, began = int((stage.settings.home / "up.lock").read_text()), time.monotonic()
    os.kill(supervisor, signal.SIGTERM)
    eventually(lambda: "platform.stopping" in stage.tail(), 60, stage.tail)
    for name in slow:
        stage.patients[name].release()
    eventually(lambda: is_dead(supervisor) and not stage.running("celery"), 120, stage.tail)
    assert time.monotonic() - began <= END

    early = stage.start(*UP)
    time.sleep(0.5)  # it is in the middle of its start
    early.terminate()
    early.wait(60)
    stage.log.unlink()
    stage.open()

    assert {stage.closed(name, since, within=90).outcome for name in stage.patients} == {Outcome.RESOLVED}
    eventually(lambda: told_under_load(stage) == REPORTS, 90, lambda: f"{told_under_load(stage)} of {REPORTS}")
    stage.await_healthy(within=90)
    assert stage.patients["anvil"].starts == starts["anvil"] + 1


def told_under_load(stage: Stage) -> int:
    with stage.store.engine.connect() as connection:
        return int(connection.execute(select(func.count()).where(failures.c.message.like("under load%"))).scalar_one())
