"""The thread that tells of a worker's life: it outlives the database's outages and says at the end that it was told to stop."""

import logging
import threading
from types import SimpleNamespace

import pytest

from recovery.errors import StoreUnavailable
from recovery.models import JsonObject
from tests.support import eventually
from workers import pulse, wiring
from workers.pulse import WorkerPulse


class Diary:
    """A watch that writes down what it is told, or raises `error`."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.error: Exception | None = None
        self.tries = 0

    def worker_lives(self, name: str, detail: JsonObject) -> None:
        self._write(f"{name} lives, {detail['queues']}")

    def worker_stops(self, name: str) -> None:
        self._write(f"{name} stops")

    def _write(self, line: str) -> None:
        self.tries += 1
        if self.error is not None:
            raise self.error
        self.lines.append(line)


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Diary:
    kept = Diary()
    monkeypatch.setattr(wiring, "platform", lambda: SimpleNamespace(watch=kept))
    monkeypatch.setattr(pulse, "WORKER_EVERY", 0.01)
    return kept


@pytest.fixture
def worker() -> SimpleNamespace:
    queues = SimpleNamespace(consume_from={"restart": None, "degrade": None})
    return SimpleNamespace(hostname="recover@host", steps=[], app=SimpleNamespace(amqp=SimpleNamespace(queues=queues)))


def test_a_worker_tells_its_queues_again_and_again_and_at_the_end_that_it_stops(diary: Diary, worker: SimpleNamespace) -> None:
    step = WorkerPulse(worker)

    step.start(worker)
    eventually(lambda: len(diary.lines) >= 3)
    step.stop(worker)

    assert set(diary.lines[:-1]) == {"recover@host lives, ['degrade', 'restart']"}
    assert diary.lines[-1] == "recover@host stops"
    assert "pulse" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("error", [StoreUnavailable("locked"), OSError("disk full")], ids=["expected", "unexpected"])
def test_an_outage_of_the_database_is_told_once_and_outlived(
    diary: Diary, worker: SimpleNamespace, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    caplog.set_level(logging.WARNING)
    diary.error = error
    step = WorkerPulse(worker)

    step.start(worker)
    eventually(lambda: diary.tries >= 3)
    diary.error = None
    eventually(lambda: diary.lines)
    step.stop(worker)

    assert len([record for record in caplog.records if "signs of life" in record.message]) == 1


def test_a_worker_that_never_started_can_be_stopped(worker: SimpleNamespace) -> None:
    WorkerPulse(worker).stop(worker)
