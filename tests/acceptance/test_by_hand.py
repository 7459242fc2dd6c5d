"""Every part of the platform as a plain Celery command in a terminal of its own, without `recovery up`."""

import pytest

from recovery.models import Outcome, utcnow
from tests.sickbed import Patient
from tests.stage import Stage
from tests.support import eventually

WORKERS = {"hands": ("restart,degrade", "prefork"), "desk": ("failures,maintenance", "prefork"), "eyes": ("health", "threads")}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_workers_and_beat_started_by_hand_recover_a_service() -> None:
    with Stage([Patient("web", "healthy_for = 0")], up=False) as stage:
        if stage.settings.embedded:
            stage.start("-c", "from workers.cli import main; main()", "broker")
            eventually(lambda: "The broker is ready" in stage.tail(), within=60, message=stage.tail)
        for name, (queues, pool) in WORKERS.items():
            stage.start("-m", "celery", "-A", "workers", "worker", "-n", f"{name}@%h", "-Q", queues, "-P", pool, "-c", "2")
        stage.start("-m", "celery", "-A", "workers", "beat", "--schedule", str(stage.folder / "beat-schedule"))
        eventually(lambda: all(f"{name}@" in stage.tail() for name in WORKERS), within=60, message=stage.tail)
        stage.await_healthy()
        since = utcnow()

        stage.patients["web"].kill()

        assert stage.closed("web", since).outcome is Outcome.RESOLVED
        assert stage.patients["web"].starts == 2
