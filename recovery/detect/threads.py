"""Run blocking work beside the event loop, in daemon threads that may hang without holding anything else up.

The loop's own executor will not do: `asyncio.run` waits for its threads, so one hung call would hold the whole sweep.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Call:
    future: Future[Any] = field(default_factory=Future)
    began: float = field(default_factory=time.monotonic)


class _Calls:
    """Calls in flight in this process, by key."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.lock = threading.Lock()
        self.flying: dict[Hashable, _Call] = {}


_calls = _Calls()
os.register_at_fork(after_in_child=_calls.reset)  # the parent's threads do not exist in the child


async def in_thread(key: Hashable, work: Callable[[], T], overdue: float) -> T:
    """Return what `work` returns, having run it in a daemon thread; never two threads for one `key`.

    A call with the same key that is in flight is joined. One that has been in flight for `overdue` seconds is taken
    for hung: no second thread is started and `TimeoutError` is raised at once, until it returns after all.

    Args:
        key: what must not run twice, such as the kind and name of a check.
        work: takes nothing; whatever it raises is raised here.
        overdue: seconds, usually the check's timeout.
    """
    with _calls.lock:
        call = _calls.flying.get(key)
        if call is None:
            call = _calls.flying[key] = _Call()
            threading.Thread(target=_run, args=(key, call, work), name=f"check {key}", daemon=True).start()
        elif (age := time.monotonic() - call.began) >= overdue:
            raise TimeoutError(f"an earlier call has been running for {age:.0f} s and has not returned")
    result: T = await asyncio.wrap_future(call.future)
    return result


def _run(key: Hashable, call: _Call, work: Callable[[], Any]) -> None:
    call.future.set_running_or_notify_cancel()
    try:
        outcome, problem = work(), None
    except BaseException as error:  # noqa: BLE001 - the thread has nobody else to tell
        outcome, problem = None, _carried(error)
    with _calls.lock:
        if _calls.flying.get(key) is call:
            del _calls.flying[key]
    if problem is None:
        call.future.set_result(outcome)
    else:
        call.future.set_exception(problem)


def _carried(error: BaseException) -> Exception:
    """Return an exception that a future can carry: StopIteration cannot be, SystemExit would end the event loop."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")


class ImpatientExecutor(ThreadPoolExecutor):
    """Resolve host names for one round of probes without making its end wait for a name server that does not answer."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - inherited
        """Drop what waits and leave what runs to itself."""
        super().shutdown(wait=False, cancel_futures=True)
