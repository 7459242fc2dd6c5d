"""Counts the calls of one process in a window of the last calls or the last seconds.

A success leaves no record: calls are numbered (`next()` on one `itertools.count` is atomic), and only the numbers of failed and of
slow calls are kept. So what a window holds is a difference of numbers, and the path of a success needs no lock.
"""

from collections import deque
from math import floor, inf

from recovery.breaker.judgement import Counts
from recovery.breaker.options import BreakerOptions

BUCKETS = 10
"""Steps in which a window of seconds moves on."""


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
        "_failed",
        "_heard",
        "_in_a_row",
        "_least",
        "_marks",
        "_size",
        "_slow",
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
        self._failed: deque[int] = deque()
        self._slow: deque[int] = deque()
        self._in_a_row = 0
        self._heard = False
        self._width = (options.window_seconds or 0.0) / BUCKETS
        self._marks: deque[tuple[int, int]] = deque()
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
        if self._least < inf:
            if failed:
                self._failed.append(number)
            if slow:
                self._slow.append(number)
        return self.counts(number)

    def counts(self, number: int) -> Counts:
        """Return what the window holds after the call of this number."""
        if self._size is not None:
            self._begin = max(self._begin, number - self._size)
        for marked in (self._failed, self._slow):
            while marked and marked[0] <= self._begin:
                marked.popleft()
        calls = number - self._begin
        short = bool(self._failed or self._slow) and calls < self._least
        self.until = -inf if self._all or self.in_run or short else self._bucket_until
        return Counts(calls=calls, failures=len(self._failed), slow=len(self._slow), in_a_row=self._in_a_row)

    def hear(self, in_a_row: int) -> None:
        """Take note of how many calls in a row failed in the fleet."""
        if in_a_row:
            self._heard = True
            self.until = -inf

    def retire(self) -> None:
        """Count no more; calls that are still under way find out by `until`."""
        self.until = -inf

    def _roll(self, number: int, now: float) -> None:
        """Begin the bucket of `now` with this call, and drop those that the window has left behind."""
        bucket = floor(now / self._width)
        self._marks.append((bucket, number))
        while self._marks[0][0] <= bucket - BUCKETS:
            self._marks.popleft()
        self._begin = self._marks[0][1] - 1
        self._bucket_until = (bucket + 1) * self._width
