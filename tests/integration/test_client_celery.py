"""The bridge reports what goes wrong in a user's own Celery app: real prefork workers on a real Valkey."""

import os
import signal
from collections.abc import Iterator

import pytest

from recovery.models import Failure
from tests.shop import Shop, opened
from tests.streams import failures
from tests.support import eventually

SHOP = """
import os, signal, time
from pathlib import Path
from celery import Celery
from celery.exceptions import Ignore, Reject

from recovery.client import RecoveryClient
from recovery.client.celery import bridge

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.task_ignore_result = True
client = RecoveryClient(os.environ["REPORTS"], spool="spool")
bridge(client, service={"mail.": "mailer", "": "orders"}, ignore=(FileNotFoundError,))


@app.task(name="mail.send")
def send():
    raise ConnectionError("no mail today, password=hunter2")

@app.task(name="orders.again", bind=True, autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0)
def again(self):
    raise ConnectionError(f"try {self.request.retries}")

@app.task(name="orders.better", bind=True, max_retries=1, default_retry_delay=0)
def better(self):
    if self.request.retries == 0:
        raise self.retry()

@app.task(name="orders.ignored")
def ignored():
    raise Ignore

@app.task(name="orders.expected", throws=(KeyError,))
def expected():
    raise KeyError("not found")

@app.task(name="orders.missing")
def missing():
    raise FileNotFoundError

@app.task(name="orders.crash")
def crash():
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(name="orders.slow", time_limit=1)
def slow():
    time.sleep(600)

@app.task(name="orders.impatient", soft_time_limit=1)
def impatient():
    time.sleep(600)

@app.task(name="orders.well")
def well():
    pass

@app.task(name="orders.last")
def last():
    raise ValueError("last words")
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with opened(tmp_path_factory.mktemp("shop"), SHOP) as shop:
        yield shop


def test_a_failed_task_is_reported_for_the_service_of_its_prefix(shop: Shop) -> None:
    failure = shop.failure_of(shop.send("mail.send", args=()))

    assert (failure.service, failure.labels) == ("mailer", {"task": "mail.send"})
    assert failure.message == "ConnectionError: no mail today, password=***"
    assert failure.details["retries"] == 0
    assert failure.stack is not None
    assert "in send" in failure.stack


def test_retries_are_not_reported_and_their_end_once(shop: Shop) -> None:
    failure = shop.failure_of(shop.send("orders.again"))

    assert (failure.service, failure.message, failure.details["retries"]) == ("orders", "ConnectionError: try 2", 2)


def test_what_is_expected_is_not_reported(shop: Shop) -> None:
    silent = [shop.send(f"orders.{name}") for name in ("better", "ignored", "expected", "missing", "well")]
    eventually(
        lambda: all(task_id in shop.log.read_text().partition("received")[2] for task_id in silent), within=60, message=shop.log.read_text
    )
    for _ in range(4):  # both children have done what came before when each did something later
        shop.failures(shop.send("mail.send"), wait=True)

    assert [shop.failures(task_id) for task_id in silent] == [[]] * len(silent)


def test_a_lost_worker_is_a_panic(shop: Shop) -> None:
    failure = shop.failure_of(shop.send("orders.crash"))

    assert (failure.type, failure.service) == ("panic", "orders")
    assert "WorkerLostError" in failure.message


@pytest.mark.parametrize("task", ["slow", "impatient"])
def test_a_time_limit_is_a_timeout_and_told_once(shop: Shop, task: str) -> None:
    assert shop.failure_of(shop.send(f"orders.{task}")).type == "timeout"


def test_an_expired_task_is_a_backlog(shop: Shop) -> None:
    failure = shop.failure_of(shop.send("orders.well", expires=-10))

    assert (failure.category, failure.severity, failure.recoverable) == ("queue_backlog", "medium", True)


def test_a_revoked_task_is_only_noted(shop: Shop) -> None:
    task_id = shop.send("orders.well", countdown=3_600)
    eventually(lambda: task_id in shop.log.read_text(), within=60)

    shop.app.control.revoke(task_id, terminate=True)
    shop.send("orders.well", task_id=task_id)  # delivered now, and revoked by then or soon

    failure = shop.failure_of(task_id)
    assert (failure.message, failure.recoverable) == ("task orders.well was revoked", False)


def test_a_task_that_nobody_knows_is_reported(shop: Shop) -> None:
    failure = shop.failure_of(shop.send("orders.unheard_of"))

    assert (failure.message, failure.type) == ("no worker knows the task orders.unheard_of", "initialization")


def test_a_message_that_is_refused_is_reported(shop: Shop) -> None:
    with shop.app.connection_for_write() as connection, connection.Producer() as producer:
        producer.publish({"no": "task"}, routing_key="celery", exchange="celery", serializer="json")

    def refused() -> list[Failure]:
        return [failure for failure in failures(shop.redis) if "was refused" in failure.message]

    (failure,) = eventually(refused, within=60, message=shop.log.read_text)
    assert (failure.service, failure.severity) == ("orders", "medium")


def test_a_worker_that_is_told_to_stop_delivers_its_last_reports(shop: Shop) -> None:
    task_id = shop.send("orders.last")
    eventually(lambda: f"orders.last[{task_id}] raised" in shop.log.read_text(), within=60, message=shop.log.read_text)

    os.kill(shop.worker.pid, signal.SIGTERM)

    assert shop.worker.wait(60) == 0
    assert [failure.message for failure in shop.failures(task_id)] == ["ValueError: last words"]
