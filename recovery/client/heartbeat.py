"""Gives signs of life of a service at a steady pace, from a thread of its own."""

from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Self


class Heartbeat:
    """Calls `beat` now and every `seconds` until stopped, or until the process ends; goes on in forked children.

    Use it as a context manager or call `stop()`. It proves only that this process runs; a service that can hang should
    call `client.heartbeat(service)` from its own work loop instead.
    """

    def __init__(self, beat: Callable[[], None], seconds: float) -> None:
        self._beat = beat
        self._seconds = seconds
        self.is_stopped = False
        self.renew()

    def renew(self) -> None:
        """Beat in a forked child, too."""
        self._stop = Event()
        if not self.is_stopped:
            Thread(target=self._run, name="recovery-heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Give no more signs of life."""
        self.is_stopped = True
        self._stop.set()

    def _run(self) -> None:
        self._beat()
        while not self._stop.wait(self._seconds):
            self._beat()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()
