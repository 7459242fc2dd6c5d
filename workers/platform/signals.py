"""The signals that a supervisor lives by, turned into a count and a file descriptor that can be waited for."""

import contextlib
import os
import signal
from types import FrameType, TracebackType
from typing import Self

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Counts the wishes to stop while it is entered; `wake` becomes readable at each one and at each death of a child."""

    def __init__(self) -> None:
        self.stops = 0
        self.wake = -1
        self._writer = -1
        self._before: dict[signal.Signals, object] = {}
        self._wakeup_before = -1

    def __enter__(self) -> Self:
        self.wake, self._writer = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        for number in STOPPING:
            # nohup means its SIGHUP, but a shell that starts us with `&` makes us ignore SIGINT unasked, and `kill -INT` must work
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _noted)
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)  # type: ignore[arg-type] # what signal.signal returned
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.wake)
        os.close(self._writer)

    def clear(self) -> None:
        """Empty `wake`, so that it can be waited for again."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.wake, 4096):
                pass

    def _stop(self, _: int, __: FrameType | None) -> None:
        self.stops += 1


def _noted(_: int, __: FrameType | None) -> None:
    """Let the wake-up descriptor tell it."""
