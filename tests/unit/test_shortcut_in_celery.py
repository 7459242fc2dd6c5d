"""The shortcut on Celery's own parts: its requests, its strategy, its event loop and its dispatcher, as the shortcut relies on them."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.events.dispatcher import EventDispatcher
from celery.worker import state
from celery.worker.consumer.consumer import Consumer
from celery.worker.request import Request
from kombu import Message
from kombu.asynchronous import Hub

from recovery.errors import StoreUnavailable
from tests.support import eventually
from tests.world import World
from workers import shortcut
from workers.shortcut import ShortcutStep
from workers.task import RecoveryTask

NAME = "recovery.report_failure"


def report_failure(**_failure: object) -> None:
    """Is never run: there is no pool."""


class Worker:
    """What a worker has around the shortcut: Celery's own hub, dispatcher, strategy and requests; no broker, no pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World("restart")
        self.app = Celery("here", broker="memory://", task_cls=RecoveryTask, set_as_current=False)
        self.app.conf.update(task_acks_late=True, accept_content=["json"])
        self.task: Any = self.app.task(report_failure, name=NAME, ignore_result=False, Strategy="workers.shortcut:strategy")
        self.app.finalize()
        self.results: dict[str, Any] = {}
        self.task.backend = SimpleNamespace(put_successes=self._put, mark_as_revoked=lambda *_args, **_options: None)
        self.events: list[dict[str, Any]] = []
        self.published = 0
        self.acknowledged: list[str] = []
        self.pool: list[Any] = []
        self.limited: list[Any] = []
        self.consumer = self._consumer()
        self.turning, self.broker, self._other = True, *socket.socketpair()
        self.thread = threading.Thread(target=self._turn, daemon=True)
        monkeypatch.setattr(shortcut, "platform", lambda: SimpleNamespace(desk=self.world.desk))
        monkeypatch.setattr(shortcut, "take_in_many", self.world.desk.report_many)
        monkeypatch.setattr(shortcut, "proceed_all", lambda _answers: None)

    def _consumer(self) -> Any:
        dispatcher = EventDispatcher(self.app.connection_for_write(), app=self.app, buffer_group=["task"], hostname="w@here")
        dispatcher._publish = self._publish
        consumer = SimpleNamespace(hub=Hub(), event_dispatcher=dispatcher, hostname="w@here", connection_errors=(), timer=None)
        consumer.timer = consumer.hub.timer
        consumer.on_task_request, consumer._limit_task = self.pool.append, lambda request, *_bucket: self.limited.append(request)
        consumer.apply_eta_task = consumer._limit_post_eta = None
        consumer.pool = SimpleNamespace(apply_async=None)
        consumer.disable_rate_limits, consumer.task_buckets = False, {NAME: None}
        consumer.controller = SimpleNamespace(state=state)
        consumer._flush_events_promise = dispatcher.flush
        consumer.on_send_event_buffered = partial(Consumer.on_send_event_buffered, consumer)
        dispatcher.on_send_buffered = consumer.on_send_event_buffered
        return consumer

    def _publish(self, events: Any, *_rest: Any, **_options: Any) -> None:
        self.published += 1
        self.events += events if isinstance(events, list) else [events]

    def _put(self, done: Sequence[tuple[Any, Any]]) -> None:
        self.results.update({context.id: said for context, said in done})

    def start(self) -> None:
        self.thread.start()

    def _turn(self) -> None:
        self.consumer.hub.add_reader(self.broker, lambda: None)  # without any socket to look at, the loop sleeps
        loop = self.consumer.hub.create_loop()
        while self.turning:
            next(loop)

    def end(self) -> None:
        self.turning = False
        if self.thread.is_alive():
            self.consumer.hub.call_soon(lambda: None)
            self.thread.join(10)
        self.consumer.hub.close()
        self.broker.close()
        self._other.close()
        self.app.close()
        state.reset_state()

    def receive(self, *, service: str = "web", headers: Mapping[str, object] = {}) -> str:
        """Hand a message to the strategy, as the consumer does in its loop; return its id."""
        return self.receive_all([service], headers)[0]

    def receive_all(self, services: list[str], headers: Mapping[str, object] = {}) -> list[str]:
        handle = self.task.start_strategy(self.app, self.consumer)
        ids = []
        for service in services:
            message = self._message({"service": service}, headers)
            ids.append(message.headers["id"])
            handle(message, None, partial(self._acknowledge, ids[-1]), lambda *_: None, ())
        return ids

    def _message(self, kwargs: Mapping[str, object], headers: Mapping[str, object]) -> Message:
        made = self.app.amqp.as_task_v2(f"t-{time.monotonic_ns()}", NAME, (), dict(kwargs))
        return Message(
            body=json.dumps(made.body),
            content_type="application/json",
            content_encoding="utf-8",
            accept={"application/json"},
            headers={**made.headers, **headers},
            properties=made.properties,
            delivery_info={"routing_key": "failures"},
        )

    def _acknowledge(self, name: str, *_logger_and_errors: Any) -> None:
        self.consumer.hub.call_soon(self.acknowledged.append, name)  # as Celery's consumer does: in the next turn


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    made = Worker(monkeypatch)
    yield made
    made.end()


def test_a_report_is_written_answered_and_acknowledged_and_its_worker_process_and_time_are_told(worker: Worker) -> None:
    worker.start()

    name = worker.receive()
    eventually(lambda: worker.acknowledged == [name] and len(worker.events) == 3)

    received, started, succeeded = worker.events
    assert [received["type"], started["type"], succeeded["type"]] == ["task-received", "task-started", "task-succeeded"]
    assert (received["name"], started["uuid"], succeeded["uuid"], succeeded["hostname"]) == (NAME, name, name, "w@here")
    assert succeeded["runtime"] > 0
    assert "opened" in succeeded["result"]
    assert worker.results[name]["intake"] == "opened"
    assert (worker.pool, state.total_count[NAME]) == ([], 1)


def test_many_reports_share_their_events_messages(worker: Worker) -> None:
    names = worker.receive_all(["web"] * 16)
    worker.start()

    eventually(lambda: sorted(worker.acknowledged) == sorted(names) and len(worker.events) == 3 * 16)

    assert worker.published < 16


def test_what_is_in_hand_is_what_celery_says_is_active(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def take_in_many(payloads: Any, actor: str) -> Any:
        writing.set()
        assert go_on.wait(30)
        return worker.world.desk.report_many(payloads, actor)

    monkeypatch.setattr(shortcut, "take_in_many", take_in_many)
    worker.start()

    name = worker.receive()
    assert writing.wait(30)
    (active,) = state.active_requests
    at_work = (active.id, active.info()["worker_pid"], active.acknowledged)
    reserved = {request.id for request in state.reserved_requests}
    go_on.set()
    eventually(lambda: worker.acknowledged == [name])

    assert at_work == (name, os.getpid(), False)
    assert reserved == {name}
    assert not state.active_requests
    assert not state.reserved_requests
    assert not state.requests


def test_a_revoked_report_is_not_taken_in(worker: Worker) -> None:
    state.revoked.add("unwanted")
    worker.start()

    worker.receive(headers={"id": "unwanted"})
    eventually(lambda: worker.acknowledged == ["unwanted"])

    assert (worker.results, worker.world.store.open_recoveries()) == ({}, [])


def test_a_report_that_comes_too_late_is_not_taken_in(worker: Worker) -> None:
    worker.start()

    name = worker.receive(headers={"expires": (datetime.now(UTC) - timedelta(minutes=1)).isoformat()})
    eventually(lambda: worker.acknowledged == [name])

    assert (worker.results, worker.world.store.open_recoveries()) == ({}, [])


def test_a_rate_limit_holds(worker: Worker) -> None:
    worker.consumer.task_buckets[NAME] = object()

    name = worker.receive()

    assert [request.id for request in worker.limited] == [name]
    assert worker.results == {}


@pytest.mark.parametrize(
    "headers", [{"timelimit": [5, None]}, {"retries": 1}], ids=["with a time limit", "sent again after its process was lost"]
)
def test_celerys_requests_say_what_is_not_plain(worker: Worker, headers: dict[str, object]) -> None:
    name = worker.receive(headers=headers)

    assert [request.id for request in worker.pool] == [name]


def test_what_goes_to_the_pool_is_told_at_once_and_as_ever(worker: Worker) -> None:
    worker.start()

    worker.receive(service="nobody")
    (request,) = eventually(lambda: worker.pool)
    eventually(lambda: [event["type"] for event in worker.events] == ["task-received", "task-started"])

    assert isinstance(request, Request)
    assert request.eventer is worker.consumer.event_dispatcher
    assert not request.acknowledged


def test_a_worker_whose_loop_has_ended_acknowledges_what_it_has_written(worker: Worker) -> None:
    acknowledged: list[str] = []
    names = worker.receive_all(["web", "web"])
    for request in state.active_requests:
        request.message.ack_log_error = partial(lambda name, *_: acknowledged.append(name), request.id)

    ShortcutStep(worker.consumer).stop(worker.consumer)

    assert sorted(acknowledged) == sorted(names) == sorted(worker.results)
    assert not state.active_requests


def test_what_the_pool_must_do_survives_the_loss_of_the_connection(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_in_many(_payloads: Any, _actor: str) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(shortcut, "take_in_many", take_in_many)
    name = worker.receive()
    step = ShortcutStep(worker.consumer)
    eventually(lambda: not worker.consumer.shortcut._in_hand)

    step.stop(worker.consumer)
    before = list(worker.pool)
    step.start(worker.consumer)

    assert before == []
    assert [request.id for request in worker.pool] == [name]


def test_a_worker_that_leaves_reports_to_others_has_nothing_to_end() -> None:
    consumer = SimpleNamespace()
    step = ShortcutStep(consumer)

    step.start(consumer)
    step.stop(consumer)

    assert vars(consumer) == {}
