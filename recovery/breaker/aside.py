"""Asks what may hang without making the asker wait for it longer than it says."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def aside(ask: Callable[[], T]) -> Future[T]:
    """Begin to ask in a daemon thread of its own and return the answer to come, which cannot be cancelled.

    An application's executor may be busy, and a name server that does not answer heeds no timeout of a socket.

    Raises:
        RuntimeError: no thread can be had now.
    """
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()
    Thread(target=_answer, args=(ask, answer), name="recovery-breaker-asks", daemon=True).start()
    return answer


def _answer(ask: Callable[[], T], answer: Future[T]) -> None:
    try:
        answer.set_result(ask())
    except BaseException as error:  # noqa: BLE001 - whoever asked is told
        answer.set_exception(error)
