"""Calls a function until it works, within reason: through a breaker, with tries, a report, and a wait for the recovery.

What happens next is decided in one generator, `_course`; `call` and `acall` do what it says.
"""

import functools
import inspect
import random
import time
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypedDict, TypeVar, cast

from recovery.backoff import Exponential, Jittered, Seen
from recovery.client.endings import Ending
from recovery.client.limits import check_count, check_kinds, check_no_coroutine, check_no_generator, check_seconds
from recovery.client.passing import Passing, passing, passing_async
from recovery.client.words import CategoryName, SeverityName
from recovery.errors import CircuitOpen, ConfigurationError, nearest

if TYPE_CHECKING:
    from recovery.breaker.caller import Breaker
    from recovery.client.endings import Endings

P = ParamSpec("P")
T = TypeVar("T")

SPREAD = 0.5
"""Seconds over which callers spread their last try by chance: a recovery ends for all of them at the same moment."""
LOOK_AGAIN = 0.25
"""Seconds after which a refused last try looks at the breaker again: the platform may reset it before its time."""
Kinds = tuple[type[Exception], ...]


class HealingSettings(TypedDict, total=False):
    """The keywords of `client.execute_with_healing` and `client.healing`; see `HealingOptions` for their meaning."""

    attempts: int
    first_wait: float
    longest_wait: float
    retry_on: Kinds
    ignore: Kinds
    wait_for_recovery: float
    category: CategoryName
    severity: SeverityName
    breaker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingOptions:
    """How hard to try.

    Raises:
        ConfigurationError: if one is out of its range.
    """

    attempts: int = 3
    """Tries, 1 to 100. Default 3."""
    first_wait: float = 0.1
    """Seconds that the wait after the first failure lasts at most, 0 to 3600; doubled by each further one, all of it left to chance.
    Default 0.1."""
    longest_wait: float = 2.0
    """Seconds that no wait between tries exceeds, 0 to 3600. Default 2."""
    retry_on: Kinds = (Exception,)
    """Exceptions that another try may mend. Default: all."""
    ignore: Kinds = ()
    """Exceptions that say nothing about the service: raised at once, not reported, and not counted by the breaker. Default: none."""
    wait_for_recovery: float = 0.0
    """Seconds to wait for the end of a recovery of the service, and for its breaker, 0 to 3600. Default 0: no wait, no last try."""
    category: CategoryName = "unknown"
    """Of the report."""
    severity: SeverityName = "high"
    """Of the report."""
    breaker: str = ""
    """Name of the breaker. Default: the service's."""

    def __post_init__(self) -> None:
        check_count("Healing", "attempts", self.attempts, 100)
        for option in ("first_wait", "longest_wait", "wait_for_recovery"):
            check_seconds("Healing", option, getattr(self, option), 3_600)
        for option in ("retry_on", "ignore"):
            check_kinds("Healing", option, getattr(self, option))

    @classmethod
    def of(cls, settings: HealingSettings) -> "HealingOptions":
        """Return the options from keywords; raises `ConfigurationError` for an unknown one, with the nearest known name."""
        for option in settings:
            if option not in HealingSettings.__annotations__:
                raise ConfigurationError(f"Healing: unknown option '{option}'{nearest(option, HealingSettings.__annotations__) or '.'}")
        return cls(**settings)


class _Try(NamedTuple):
    """Call the function through the breaker."""


class _Pause(NamedTuple):
    seconds: float


class _AwaitEnding(NamedTuple):
    known: int
    seconds: float


class _Came(NamedTuple):
    """What came of a step."""

    value: object = None
    error: Exception | None = None
    ending: Ending | None = None


_Step = _Try | _Pause | _AwaitEnding


class Healing:
    """Calls functions for one service; use `call`, `await acall`, or as a decorator of functions and coroutine functions.

    Args:
        service: As declared in `recovery.toml`.
        options: How hard to try.
        breaker: What the calls go through.
        report: Called with the error when the tries are used up.
        endings: Where to wait for recoveries.
    """

    def __init__(
        self, service: str, options: HealingOptions, breaker: "Breaker", report: Callable[[Exception], object], endings: "Endings"
    ) -> None:
        self.service = service
        self.options = options
        self._breaker = breaker
        self._report = report
        self._endings = endings
        self._growth = Jittered(Exponential(options.first_wait, 2.0, options.longest_wait))

    def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returns; raises its last error, or `CircuitOpen` if it was never called.

        Raises:
            TypeError: for a coroutine function; await `acall` with it.
        """
        check_no_coroutine(f"Healing for service '{self.service}'", function, "'await ...acall(function)'")
        course, tried = self._course(), passing(function, self.options.ignore)
        step = next(course)
        while True:
            came = _Came()
            if isinstance(step, _Try):
                try:
                    came = _Came(self._breaker.call(tried, *args, **kwargs))
                except Passing as past:
                    came = _Came(error=past.error)
                except Exception as error:  # noqa: BLE001 - the course decides what becomes of it
                    came = _Came(error=error)
            elif isinstance(step, _Pause):
                time.sleep(step.seconds)
            else:
                came = _Came(ending=self._endings.wait(self.service, step.known, step.seconds))
            try:
                step = course.send(came)
            except StopIteration as ended:
                return cast("T", _result(ended.value))

    async def acall(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `function`; like `call`."""
        import asyncio  # loaded already where this is called

        course, tried = self._course(), passing_async(function, self.options.ignore)
        step = next(course)
        while True:
            came = _Came()
            if isinstance(step, _Try):
                try:
                    came = _Came(await self._breaker.acall(tried, *args, **kwargs))
                except Passing as past:
                    came = _Came(error=past.error)
                except Exception as error:  # noqa: BLE001 - the course decides what becomes of it
                    came = _Came(error=error)
            elif isinstance(step, _Pause):
                await asyncio.sleep(step.seconds)
            else:
                came = _Came(ending=await self._endings.wait_async(self.service, step.known, step.seconds))
            try:
                step = course.send(came)
            except StopIteration as ended:
                return cast("T", _result(ended.value))

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return `function` called with healing; a coroutine function stays one.

        Raises:
            TypeError: for a generator function, whose calls do nothing yet.
        """
        check_no_generator(f"Healing for service '{self.service}'", function)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def healed_coroutine(*args: P.args, **kwargs: P.kwargs) -> object:
                return await self.acall(function, *args, **kwargs)

            return cast("Callable[P, T]", healed_coroutine)

        @functools.wraps(function)
        def healed(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.call(function, *args, **kwargs)

        return healed

    def _course(self) -> Generator[_Step, _Came, _Came]:
        """Yield what to do next; return the result of the last try that says something."""
        options = self.options
        known = self._endings.follow(self.service) if options.wait_for_recovery else 0
        came = yield from self._tries()
        if came.error is None or isinstance(came.error, options.ignore):
            return came
        if not isinstance(came.error, CircuitOpen):  # its opening was reported
            self._report(came.error)
        if not options.wait_for_recovery:
            return came
        deadline = time.monotonic() + options.wait_for_recovery
        ended = yield _AwaitEnding(known, options.wait_for_recovery)
        if ended.ending is None or not ended.ending.is_hopeful:
            return came
        last = yield from self._last_try(deadline)
        return came if isinstance(last.error, CircuitOpen) else last

    def _tries(self) -> Generator[_Step, _Came, _Came]:
        came = _Came()
        for failed in range(1, self.options.attempts + 1):
            before, came = came, (yield _Try())
            error = came.error
            if isinstance(error, CircuitOpen) and before.error is not None:
                return before  # opened by these tries, or meanwhile: what they failed with says more
            if error is None or isinstance(error, (CircuitOpen, *self.options.ignore)) or not isinstance(error, self.options.retry_on):
                break
            if failed < self.options.attempts:
                yield _Pause(self._growth.wait(Seen(failed=failed, draw=random.random())) or 0.0)  # noqa: S311 - no secret
        return came

    def _last_try(self, deadline: float) -> Generator[_Step, _Came, _Came]:
        """Try once more as soon as the breaker lets a call through, until the deadline."""
        yield _Pause(min(random.uniform(0.0, SPREAD), max(0.0, deadline - time.monotonic())))  # noqa: S311 - no secret
        while True:
            came = yield _Try()
            left = deadline - time.monotonic()
            if not isinstance(came.error, CircuitOpen) or left <= 0:
                return came
            yield _Pause(min(max(came.error.retry_after, 0.01), left, LOOK_AGAIN))


def _result(came: _Came) -> object:
    if came.error is not None:
        raise came.error
    return came.value
