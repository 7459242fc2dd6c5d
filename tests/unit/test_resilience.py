"""What the guard and the heartbeat do to Celery's Redis transport, without a broker."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.transport.redis import Channel
from redis.exceptions import ConnectionError as RedisConnectionError

from recovery.errors import RecoveryError, TaskOutOfMemory
from workers.resilience import guard_closed_channels
from workers.task import RecoveryTask


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "_connparams", lambda self, asynchronous=False: {"host": self.connection.client.hostname})
    guard_closed_channels()


def channel_on(transport: object) -> Any:
    channel = Channel.__new__(Channel)
    channel._closing = channel.closed = True  # nothing to tidy up when it is collected
    channel.connection = transport
    return channel


LIVE = SimpleNamespace(client=SimpleNamespace(hostname="broker"))
DEAD = SimpleNamespace(client=None)


@pytest.mark.parametrize("transport", [None, DEAD])
def test_a_closed_channel_answers_with_a_connection_error_that_celery_survives(guarded: None, transport: object) -> None:
    with pytest.raises(RedisConnectionError, match="closed"):
        channel_on(transport)._connparams()


def test_a_late_acknowledgement_on_a_closed_channel_still_finds_the_broker(guarded: None) -> None:
    channel = channel_on(LIVE)
    known = channel._connparams()

    channel.connection = DEAD

    assert channel._connparams() == known == {"host": "broker"}


def test_a_closed_channel_opens_no_second_event_loop_connection(guarded: None) -> None:
    channel = channel_on(LIVE)
    channel._connparams()
    channel.connection = DEAD

    with pytest.raises(RedisConnectionError):
        channel._connparams(asynchronous=True)


def test_guarding_twice_is_guarding_once(guarded: None) -> None:
    once = Channel._connparams

    guard_closed_channels()

    assert Channel._connparams is once


APP = Celery("tasks", task_cls=RecoveryTask, set_as_current=False)


@APP.task(name="glutton")  # type: ignore[untyped-decorator]
def glutton() -> None:
    raise MemoryError


@APP.task(name="greeting")  # type: ignore[untyped-decorator]
def greeting(service: str) -> str:
    return f"hello {service}"


def test_a_task_without_memory_fails_in_a_way_that_spares_its_worker() -> None:
    with pytest.raises(TaskOutOfMemory, match="glutton ran out of memory"):
        glutton()


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [({}, "missing a required argument: 'service'"), ({"service": "shop", "stratgy": "x"}, "unexpected keyword argument 'stratgy'")],
)
def test_arguments_that_do_not_fit_are_one_sentence(kwargs: dict[str, str], said: str) -> None:
    with pytest.raises(RecoveryError, match=f"wrong arguments: .*{said}"):
        greeting(**kwargs)


def test_an_argument_of_the_wrong_type_is_refused_in_one_sentence() -> None:
    @APP.task(name="typed")  # type: ignore[untyped-decorator]
    def typed(service: str, force: bool = False) -> str:
        return service

    with pytest.raises(RecoveryError, match="wrong arguments: 'service': input should be a valid string"):
        typed(service=["dead"])
    assert typed(service="web", force=True) == "web"
