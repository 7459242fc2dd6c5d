"""Counts the calls of one process in a window of the last calls or the last seconds.

A success leaves no record: calls are numbered (`next()` on one `itertools.count` is atomic), so how many a window holds is a
difference of numbers, and the path of a success needs no lock. Of failed and of slow calls a window of calls keeps the numbers, and a
window of seconds how many each of its steps has; so neither grows with what fails.
"""

from collections import deque
from dataclasses import dataclass
from math import floor, inf

from recovery.breaker.judgement import Counts
from recovery.breaker.options import BreakerOptions

BUCKETS = 10
"""Steps in which a window of seconds moves on."""


@dataclass(slots=True)
class _Step:
    """A part of a window of seconds."""

    bucket: int
    before: int
    """The number of the last call before it."""
    failures: int = 0
    slow: int = 0


class Window:
    """The calls since a breaker closed, as far back as its options say; also the ticket of a call that counts here.

    Everything but `due` is called under the breaker's lock.

    Args:
        options: Of the breaker.
        begin: The number of the last call before it.
        now: Seconds of a clock that only rises.
    """

    __slots__ = (
        "_all",
        "_begin",
        "_bucket_until",
        "_counts_failures",
        "_failed",
        "_failures",
        "_heard",
        "_in_a_row",
        "_least",
        "_size",
        "_slow",
        "_slow_ones",
        "_steps",
        "_width",
        "until",
    )

    def __init__(self, options: BreakerOptions, begin: int, now: float) -> None:
        self.until = inf
        """Until then a quick success only needs its number; from then on ask `due`. When the next bucket begins, or always."""
        self._all = options.record_result is not None
        self._bucket_until = inf
        self._begin = begin
        self._size = options.calls_in_window if options.has_rates else None
        self._least = options.minimum_requests if options.has_rates else inf
        self._counts_failures = options.failure_rate is not None
        self._failures = self._slow = 0
        self._failed: deque[int] = deque()
        self._slow_ones: deque[int] = deque()
        self._steps: deque[_Step] = deque()
        self._in_a_row = 0
        self._heard = False
        self._width = (options.window_seconds or 0.0) / BUCKETS
        if options.has_rates and self._width:
            self._roll(begin + 1, now)
        self.until = -inf if self._all else self._bucket_until

    @property
    def in_run(self) -> bool:
        """Say whether a success now ends a run of failures, here or in the fleet."""
        return self._in_a_row > 0 or self._heard

    def due(self, number: int, now: float) -> bool:
        """Say whether this success must be added; needs no lock."""
        return self.in_run or now >= self._bucket_until or number - self._begin >= self._least

    def add(self, number: int, now: float, *, failed: bool = False, slow: bool = False) -> Counts:
        """Take in one call and return what the window holds now; a quick success need not be added unless it is `due`."""
        if now >= self._bucket_until:
            self._roll(number, now)
        self._in_a_row = self._in_a_row + 1 if failed else 0
        self._heard &= failed
        if self._least < inf and (failed or slow):
            self._keep(number, failed=failed and self._counts_failures, slow=slow)
        return self.counts(number)

    def counts(self, number: int) -> Counts:
        """Return what the window holds after the call of this number."""
        if self._size is not None:
            self._begin = max(self._begin, number - self._size)
            self._failures, self._slow = _left(self._failed, self._begin), _left(self._slow_ones, self._begin)
        calls = number - self._begin
        short = (self._failures or self._slow) and calls < self._least
        self.until = -inf if self._all or self.in_run or short else self._bucket_until
        return Counts(calls=calls, failures=self._failures, slow=self._slow, in_a_row=self._in_a_row)

    def hear(self, in_a_row: int) -> None:
        """Take note of how many calls in a row failed in the fleet."""
        if in_a_row:
            self._heard = True
            self.until = -inf

    def retire(self) -> None:
        """Count no more; calls that are still under way find out by `until`."""
        self.until = -inf

    def _keep(self, number: int, *, failed: bool, slow: bool) -> None:
        if self._steps:
            step = self._steps[-1]
            step.failures += failed
            step.slow += slow
            self._failures += failed
            self._slow += slow
        else:
            if failed:
                self._failed.append(number)
            if slow:
                self._slow_ones.append(number)

    def _roll(self, number: int, now: float) -> None:
        """Begin the step of `now` with this call, and drop those that the window has left behind."""
        bucket = floor(now / self._width)
        self._steps.append(_Step(bucket, number - 1))
        while self._steps[0].bucket <= bucket - BUCKETS:
            gone = self._steps.popleft()
            self._failures -= gone.failures
            self._slow -= gone.slow
        self._begin = self._steps[0].before
        self._bucket_until = (bucket + 1) * self._width


def _left(numbers: deque[int], begin: int) -> int:
    """Drop the numbers up to `begin` and return how many are left."""
    while numbers and numbers[0] <= begin:
        numbers.popleft()
    return len(numbers)
