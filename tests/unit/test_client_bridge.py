"""The bridge to a user's Celery app tells two signals of one failure from a second failure of the same task."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import signals

from recovery.client import RecoveryClient
from recovery.client.celery import REMEMBERED, Bridge, bridge


class Send:
    """Stands for a task."""

    name = "mail.send"


class Recorder:
    """Stands for a client; keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def report(self, _service: str, *, details: dict[str, Any], **_more: Any) -> None:
        self.told.append(details["task_id"])


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def heard(recorder: Recorder) -> Iterator[Bridge]:
    heard = bridge(cast("RecoveryClient", recorder), service="mailer")
    yield heard
    heard.close()


def fail(task_id: str) -> None:
    signals.task_failure.send(sender=Send, task_id=task_id, exception=ConnectionError("no mail today"))


@pytest.mark.usefixtures("heard")
def test_two_signals_of_one_failure_are_one_report(recorder: Recorder) -> None:
    fail("t1")
    fail("t1")

    assert recorder.told == ["t1"]


@pytest.mark.usefixtures("heard")
def test_a_task_that_is_delivered_again_and_fails_again_is_reported_again_by_the_worker(recorder: Recorder) -> None:
    fail("t1")
    signals.task_received.send(sender=None, request=SimpleNamespace(id="t1"))
    fail("t1")

    assert recorder.told == ["t1", "t1"]


@pytest.mark.usefixtures("heard")
def test_a_task_that_is_delivered_again_and_fails_again_is_reported_again_by_the_pools_child(recorder: Recorder) -> None:
    fail("t1")
    signals.task_prerun.send(sender=Send, task_id="t1")
    fail("t1")

    assert recorder.told == ["t1", "t1"]


def test_what_is_remembered_is_bounded(heard: Bridge, recorder: Recorder) -> None:
    for number in range(REMEMBERED + 500):
        fail(f"t{number}")

    assert len(heard._failed) == REMEMBERED
    assert len(recorder.told) == REMEMBERED + 500
