"""What the bridge tells of messages that are delivered again because a child of the pool was killed: a real worker, `kill -9`."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shop import Shop, opened
from tests.support import eventually

SHOP = """
import os, signal, time
from pathlib import Path
from celery import Celery, signals
from redis import Redis

from recovery.client import RecoveryClient
from recovery.client.celery import bridge

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.update(task_ignore_result=True, task_acks_late=True, task_reject_on_worker_lost=True, worker_prefetch_multiplier=1)
client = RecoveryClient(os.environ["REPORTS"], spool="spool")
bridge(client, service="orders")


def runs(task_id):
    found = Path(task_id)
    return found.read_text().split() if found.exists() else []

def begins(task_id):
    with Path(task_id).open("a") as told:
        told.write(f"{os.getpid()}\\n")
    return len(runs(task_id))


@app.task(name="mail.send")
def send():
    raise ConnectionError("no mail today")

@app.task(name="orders.hang", bind=True)
def hang(self, ending):
    if begins(self.request.id) == 1:
        time.sleep(600)  # until it is killed
    if ending == "fails":
        raise ValueError("the second delivery fails")

@app.task(name="orders.fail", bind=True)
def fail(self):
    raise ValueError(f"delivery {begins(self.request.id)} fails")

@signals.task_postrun.connect
def die(task_id, task, **_):
    if task.name == "orders.fail" and len(runs(task_id)) == 1:
        with Redis.from_url(os.environ["REPORTS"]) as redis:
            while task_id not in repr(redis.xrange("recovery:reports")):
                time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGKILL)  # before the worker hears that the task has failed
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def shop(folder: Path) -> Iterator[Shop]:
    with opened(folder, SHOP) as shop:
        yield shop


def runs(folder: Path, task_id: str) -> list[int]:
    """Return the process of each delivery of a task."""
    found = folder / task_id
    return [int(pid) for pid in found.read_text().split()] if found.exists() else []


def kill_in_the_middle(shop: Shop, folder: Path, task_id: str) -> None:
    """Kill the child that runs the task, and return when another one has it."""
    (child,) = eventually(lambda: runs(folder, task_id), within=60, message=shop.log.read_text)
    assert child != shop.worker.pid

    os.kill(child, signal.SIGKILL)

    eventually(lambda: len(runs(folder, task_id)) == 2, within=60, message=shop.log.read_text)
    assert shop.worker.poll() is None


def test_a_child_killed_in_the_middle_is_not_reported_and_the_failure_of_the_next_delivery_is_once(shop: Shop, folder: Path) -> None:
    task_id = shop.send("orders.hang", args=("fails",))
    kill_in_the_middle(shop, folder, task_id)

    failure = shop.failure_of(task_id)

    assert (failure.type, failure.message) == ("error", "ValueError: the second delivery fails")
    assert (failure.service, failure.details["retries"], len(runs(folder, task_id))) == ("orders", 0, 2)


def test_a_child_killed_in_the_middle_of_what_then_works_is_no_failure(shop: Shop, folder: Path) -> None:
    task_id = shop.send("orders.hang", args=("works",))
    kill_in_the_middle(shop, folder, task_id)

    eventually(lambda: f"orders.hang[{task_id}] succeeded" in shop.log.read_text(), within=60, message=shop.log.read_text)
    for _ in range(4):  # both children have done what came before when each did something later
        shop.failures(shop.send("mail.send"), wait=True)
    assert shop.failures(task_id) == []


def test_each_delivery_that_fails_is_a_report_of_its_own_with_one_id_of_the_task(shop: Shop, folder: Path) -> None:
    task_id = shop.send("orders.fail")

    eventually(lambda: len(shop.failures(task_id)) == 2, within=60, message=shop.log.read_text)

    for _ in range(4):
        shop.failures(shop.send("mail.send"), wait=True)
    told = shop.failures(task_id)
    assert [failure.message for failure in told] == ["ValueError: delivery 1 fails", "ValueError: delivery 2 fails"]
    assert len({failure.id for failure in told}) == 2
    assert len(set(runs(folder, task_id))) == 2
