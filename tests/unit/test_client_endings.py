"""A waiting caller is told of the end of a recovery once it comes, and of none from before."""

import asyncio
import json
import time
from threading import Thread
from typing import cast

import pytest
from redis import Redis

from recovery.client.endings import Endings


class FakeRedis:
    """Holds the keys of endings."""

    def __init__(self, **endings: bytes) -> None:
        self.endings = endings

    def mget(self, keys: list[str]) -> list[bytes | None]:
        return [self.endings.get(key.rpartition(":")[2]) for key in keys]


def load(endings: Endings, **found: bytes) -> None:
    endings.load(cast("Redis", FakeRedis(**found)))


def hear(endings: Endings, message: bytes) -> None:
    endings.hear(message, cast("Redis", FakeRedis()))


def ending(recovery_id: str, service: str = "web", at: float | None = None) -> bytes:
    moment = time.time() if at is None else at
    return json.dumps({"service": service, "recovery_id": recovery_id, "state": "succeeded", "outcome": "resolved", "at": moment}).encode()


def heard(endings: Endings, known: int) -> str | None:
    found = endings.wait("web", known, 0.0)
    return found.recovery_id if found else None


def test_a_pushed_ending_is_heard() -> None:
    endings = Endings()
    known = endings.follow("web")

    hear(endings, ending("r-1"))

    assert heard(endings, known) == "r-1"
    assert heard(endings, endings.follow("web")) is None, "it is known now"


def test_an_ending_from_before_is_not_news() -> None:
    endings = Endings()
    known = endings.follow("web")

    load(endings, web=ending("old", at=time.time() - 60))

    assert heard(endings, known) is None


def test_a_lost_push_is_made_up_for_by_a_look() -> None:
    endings = Endings()
    known = endings.follow("web")
    load(endings, web=ending("old", at=time.time() - 60))

    load(endings, web=ending("r-1", at=time.time() - 30))  # the platform's clock may be late

    assert heard(endings, known) == "r-1"


def test_the_same_ending_pushed_and_looked_at_counts_once() -> None:
    endings = Endings()
    endings.follow("web")

    hear(endings, ending("r-1"))
    load(endings, web=ending("r-1"))

    assert endings.follow("web") == 1


def test_other_services_say_nothing() -> None:
    endings = Endings()
    known = endings.follow("web")

    hear(endings, ending("r-1", service="shop"))
    load(endings)

    assert heard(endings, known) is None


@pytest.mark.parametrize("message", [b"{", b"[]", b"7", b'{"service": "web"}', b"\xff"])
def test_what_is_no_ending_is_left_out_and_said(message: bytes, caplog: pytest.LogCaptureFixture) -> None:
    endings = Endings()
    known = endings.follow("web")

    hear(endings, message)
    load(endings, web=message)

    assert heard(endings, known) is None
    assert "left out what is no ending" in caplog.text


def test_a_waiting_thread_is_woken() -> None:
    endings = Endings()
    known = endings.follow("web")
    found: list[str] = []

    def wait() -> None:
        came = endings.wait("web", known, 60.0)
        found.append(came.recovery_id if came else "")

    thread = Thread(target=wait)
    thread.start()
    hear(endings, ending("r-1"))
    thread.join(30.0)

    assert found == ["r-1"]


def test_waiting_coroutines_are_woken_and_hold_nobody_up() -> None:
    endings = Endings()
    known = endings.follow("web")

    async def all_wait() -> list[str]:
        waits = [asyncio.create_task(endings.wait_async("web", known, 60.0)) for _ in range(50)]
        await asyncio.sleep(0)
        Thread(target=hear, args=(endings, ending("r-1"))).start()
        return [came.recovery_id for came in await asyncio.gather(*waits) if came]

    assert asyncio.run(all_wait()) == ["r-1"] * 50


def test_a_wait_ends_by_itself() -> None:
    endings = Endings()
    known = endings.follow("web")

    assert endings.wait("web", known, 0.01) is None
    assert asyncio.run(endings.wait_async("web", known, 0.01)) is None


def test_nobody_waits_for_a_closed_client() -> None:
    endings = Endings()
    known = endings.follow("web")
    thread = Thread(target=endings.wait, args=("web", known, 3_600.0))
    thread.start()

    endings.close()

    thread.join(30.0)
    assert not thread.is_alive()
    assert endings.wait("web", known, 3_600.0) is None
