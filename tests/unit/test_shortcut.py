"""Reports that come as tasks: which are taken in at once, which go to the pool, and that none is acknowledged too early."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from recovery.errors import RecoveryError, StoreUnavailable
from recovery.ports import Accepted
from tests.support import eventually
from tests.world import World
from workers import shortcut
from workers.shortcut import Shortcut


class Loop:
    """An event loop in a thread of its own, as the consumer's."""

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._changed = threading.Condition()
        self._ended = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def call_soon(self, call: Callable[..., object], *args: object) -> None:
        with self._changed:
            self._calls.append((call, args))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._calls or self._ended)
                calls, self._calls = self._calls, []
                if not calls:
                    return
            for call, args in calls:
                call(*args)

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self.thread.join(10)


class Request:
    """What a worker makes of a message."""

    def __init__(self, name: str, kwargs: Mapping[str, object], **more: Any) -> None:
        self.id, self.name = name, "recovery.report_failure"
        self.kwargs = dict(kwargs)
        self._payload = (more.pop("args", ()), self.kwargs, more.pop("embed", {"callbacks": None, "chord": None}))
        self.time_limits = more.pop("time_limits", (None, None))
        self.delivery_info = {"redelivered": more.pop("redelivered", False)}
        self.request_dict = {"retries": more.pop("retries", 0)}
        self._context = SimpleNamespace(id=name)
        self.eventer = None
        self.accepted = False
        self.ended_by: threading.Thread | None = None

    def on_accepted(self, _pid: int, _at: float) -> None:
        self.accepted = True

    def on_success(self, _answer: tuple[bool, str, float]) -> None:
        self.ended_by = threading.current_thread()


class Bench:
    """A worker with the shortcut: what it stored as results, and what it gave to its pool."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World("restart")
        self.loop = Loop()
        self.results: dict[str, Any] = {}
        self.pool: list[Any] = []
        self.error: Exception | None = None
        backend = SimpleNamespace(put_successes=lambda done: self.results.update({context.id: result for context, result in done}))
        self.consumer = SimpleNamespace(
            hub=self.loop, on_task_request=self.pool.append, event_dispatcher=None, on_send_event_buffered=lambda: None
        )
        self.shortcut = Shortcut(SimpleNamespace(backend=backend), self.consumer)
        monkeypatch.setattr(shortcut, "platform", lambda: SimpleNamespace(desk=self.world.desk))
        monkeypatch.setattr(shortcut, "take_in_many", self.take_in_many)
        monkeypatch.setattr(shortcut, "proceed_all", lambda _answers: None)

    def take_in_many(self, payloads: Sequence[Mapping[str, object]], actor: str) -> list[Accepted | RecoveryError]:
        if self.error is not None:
            raise self.error
        return self.world.desk.report_many(payloads, actor)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(monkeypatch)
    yield made
    made.loop.end()


def test_reports_are_merged_answered_and_ended_in_the_consumers_thread(bench: Bench) -> None:
    requests = [Request(f"t-{number}", {"service": "web"}) for number in range(50)]
    for request in requests:
        bench.shortcut.take(request)

    eventually(lambda: all(request.ended_by for request in requests))

    assert all(request.accepted and request.ended_by is bench.loop.thread for request in requests)
    (recovery,) = bench.world.store.open_recoveries()
    assert recovery.failures == 50
    assert sorted(result["intake"] for result in bench.results.values()) == ["merged"] * 49 + ["opened"]
    assert bench.pool == []


def test_the_same_message_twice_is_one_report(bench: Bench) -> None:
    twice = [Request("t-1", {"service": "web"}), Request("t-1", {"service": "web"})]
    for request in twice:
        bench.shortcut.take(request)
        eventually(partial(getattr, request, "ended_by"))

    (recovery,) = bench.world.store.open_recoveries()
    assert recovery.failures == 1
    assert bench.results["t-1"]["intake"] == "duplicate"


@pytest.mark.parametrize(
    "kwargs", [{"service": "nobody"}, {"service": "web", "nonsense": 1}, {}], ids=["unknown service", "unknown key", "nothing"]
)
def test_what_would_be_refused_goes_to_the_pool_untold(bench: Bench, kwargs: dict[str, object]) -> None:
    bad, good = Request("t-1", kwargs), Request("t-2", {"service": "web"})
    bench.shortcut.take(bad)
    bench.shortcut.take(good)

    eventually(lambda: good.ended_by and bench.pool)

    assert bench.pool == [bad]
    assert bad.ended_by is None
    assert list(bench.results) == ["t-2"]


@pytest.mark.parametrize(
    "more",
    [{"redelivered": True}, {"retries": 1}, {"args": ("web",)}, {"embed": {"chord": {"task": "x"}}}, {"time_limits": (5, None)}],
    ids=["redelivered", "sent again", "by position", "in a chord", "with a time limit"],
)
def test_what_is_not_plain_or_took_down_a_process_before_goes_to_the_pool(bench: Bench, more: dict[str, Any]) -> None:
    request = Request("t-1", {"service": "web"}, **more)

    bench.shortcut.take(request)

    assert bench.pool == [request]
    assert not request.accepted


def test_without_a_database_reports_go_to_the_pool_and_so_do_those_that_follow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shortcut, "CLOSED_FOR", 600.0)
    bench.error = StoreUnavailable("the database did not answer")
    first, second = Request("t-1", {"service": "web"}), Request("t-2", {"service": "web"})

    bench.shortcut.take(first)
    eventually(lambda: bench.pool == [first])
    bench.error = None
    bench.shortcut.take(second)

    assert bench.pool == [first, second]
    assert (first.ended_by, second.ended_by) == (None, None)


def test_a_worker_without_an_event_loop_uses_its_pool(bench: Bench) -> None:
    bench.consumer.hub = None
    request = Request("t-1", {"service": "web"})

    bench.shortcut.take(request)

    assert bench.pool == [request]
