"""`execute_with_healing` tries, reports, waits for the recovery, and tries once more; the breaker has the last word."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import pytest

from recovery.breaker.caller import Breaker
from recovery.breaker.options import BreakerOptions
from recovery.client import healing
from recovery.client.endings import Ending
from recovery.client.healing import Healing, HealingOptions, HealingSettings
from recovery.errors import CircuitOpen, ConfigurationError

Run = Callable[[Healing, Callable[[], str]], str]


class FakeEndings:
    """Answers a wait with what was prepared."""

    def __init__(self, ending: Ending | None = None) -> None:
        self.ending = ending
        self.waits: list[tuple[str, int, float]] = []

    def follow(self, service: str) -> int:
        return 7

    def wait(self, service: str, known: int, seconds: float) -> Ending | None:
        self.waits.append((service, known, seconds))
        return self.ending

    async def wait_async(self, service: str, known: int, seconds: float) -> Ending | None:
        return self.wait(service, known, seconds)


class Failing:
    """Fails as often as told, then answers."""

    def __init__(self, times: int, error: type[Exception] = ConnectionError) -> None:
        self.times = times
        self.error = error
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error(f"failure {self.calls}")
        return "answer"


def run_sync(healing: Healing, function: Callable[[], str]) -> str:
    return healing.call(function)


def run_async(healing: Healing, function: Callable[[], str]) -> str:
    async def coroutine() -> str:
        return function()

    return asyncio.run(healing.acall(coroutine))


@pytest.fixture(params=[run_sync, run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    run: Run = request.param
    return run


@pytest.fixture(autouse=True)
def no_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healing, "SPREAD", 0.0)


reports: list[Exception] = []


@pytest.fixture(autouse=True)
def no_reports_yet() -> None:
    reports.clear()


def healed(endings: FakeEndings | None = None, breaker: Breaker | None = None, **settings: Any) -> Healing:
    options = HealingOptions.of(cast("HealingSettings", {"first_wait": 0.0, **settings}))
    guarded = breaker or Breaker("web", BreakerOptions(failure_threshold=50))
    return Healing("web", options, guarded, reports.append, endings or FakeEndings())  # type: ignore[arg-type]


def ended(state: str) -> FakeEndings:
    return FakeEndings(Ending("web", "r-1", state, None, 0.0))


def test_a_call_that_works_is_just_a_call(run: Run) -> None:
    function = Failing(0)

    assert run(healed(), function) == "answer"
    assert (function.calls, reports) == (1, [])


def test_what_fails_now_and_then_is_tried_again_and_not_reported(run: Run) -> None:
    function = Failing(2)

    assert run(healed(attempts=3), function) == "answer"
    assert (function.calls, reports) == (3, [])


def test_the_last_error_is_reported_once_and_raised(run: Run) -> None:
    function = Failing(9)

    with pytest.raises(ConnectionError, match="failure 3"):
        run(healed(attempts=3), function)

    assert [str(error) for error in reports] == ["failure 3"]


def test_an_error_that_no_try_mends_is_reported_at_once(run: Run) -> None:
    function = Failing(9, ZeroDivisionError)

    with pytest.raises(ZeroDivisionError):
        run(healed(retry_on=(ConnectionError,)), function)

    assert (function.calls, len(reports)) == (1, 1)


def test_an_ignored_error_says_nothing_about_the_service(run: Run) -> None:
    function, endings = Failing(9, KeyError), ended("succeeded")

    with pytest.raises(KeyError):
        run(healed(endings, ignore=(KeyError,), wait_for_recovery=5.0), function)

    assert (function.calls, reports, endings.waits) == (1, [], [])


def test_the_breaker_does_not_count_an_ignored_error(run: Run) -> None:
    breaker = Breaker("web", BreakerOptions(failure_threshold=1))

    with pytest.raises(KeyError):
        run(healed(breaker=breaker, ignore=(KeyError,)), Failing(9, KeyError))

    assert (breaker.state, breaker.stats().calls) == ("closed", 0)


def test_when_its_own_tries_open_the_breaker_the_last_error_is_raised_and_reported(run: Run) -> None:
    function, breaker = Failing(9), Breaker("web", BreakerOptions(failure_threshold=2))

    with pytest.raises(ConnectionError, match="failure 2"):
        run(healed(breaker=breaker, attempts=4), function)

    assert (function.calls, [str(error) for error in reports]) == (2, ["failure 2"])


def test_a_generator_is_refused_where_it_is_decorated() -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match=r"Healing for service 'web' cannot take the generator .*numbers"):
        healed()(numbers)


def test_a_coroutine_function_is_refused_where_nobody_awaits_it() -> None:
    async def work() -> int:
        return 1

    with pytest.raises(TypeError, match=r"Healing for service 'web' cannot call the coroutine function .*work: use 'await"):
        _ = healed().call(work)

    assert reports == []


def test_what_is_no_exception_passes_at_once() -> None:
    function = Failing(9, KeyboardInterrupt)  # type: ignore[arg-type]

    with pytest.raises(KeyboardInterrupt):
        run_sync(healed(), function)

    assert (function.calls, reports) == (1, [])


def test_an_open_breaker_is_not_tried_again_and_not_reported_again(run: Run) -> None:
    breaker = Breaker("web", BreakerOptions(failure_threshold=1))
    with pytest.raises(ConnectionError):
        breaker.call(Failing(1))
    function = Failing(0)

    with pytest.raises(CircuitOpen):
        run(healed(breaker=breaker), function)

    assert (function.calls, reports) == (0, [])


@pytest.mark.parametrize("state", ["succeeded", "suppressed"])
def test_after_the_recovery_it_is_tried_once_more(run: Run, state: str) -> None:
    function, endings = Failing(2), ended(state)

    assert run(healed(endings, attempts=2, wait_for_recovery=5.0), function) == "answer"

    assert function.calls == 3
    assert endings.waits == [("web", 7, 5.0)]
    assert [str(error) for error in reports] == ["failure 2"], "the platform must know, or there would be no recovery"


def test_the_error_of_the_last_try_is_the_one_that_counts(run: Run) -> None:
    with pytest.raises(ConnectionError, match="failure 2"):
        run(healed(ended("succeeded"), attempts=1, wait_for_recovery=5.0), Failing(9))

    assert [str(error) for error in reports] == ["failure 1"]


@pytest.mark.parametrize("endings", [FakeEndings(None), ended("failed"), ended("cancelled")], ids=["none", "failed", "cancelled"])
def test_without_a_recovery_that_may_have_helped_it_ends(run: Run, endings: FakeEndings) -> None:
    function = Failing(9)

    with pytest.raises(ConnectionError, match="failure 1"):
        run(healed(endings, attempts=1, wait_for_recovery=0.5), function)

    assert function.calls == 1


def test_the_last_try_waits_for_the_breaker(run: Run) -> None:
    breaker = Breaker("web", BreakerOptions(failure_threshold=1, reset_timeout=0.05))

    assert run(healed(ended("succeeded"), breaker, attempts=1, wait_for_recovery=60.0), Failing(1)) == "answer"


def test_a_breaker_that_stays_open_leaves_the_first_error(run: Run) -> None:
    breaker = Breaker("web", BreakerOptions(failure_threshold=1, reset_timeout=60.0))

    with pytest.raises(ConnectionError, match="failure 1"):
        run(healed(ended("succeeded"), breaker, attempts=1, wait_for_recovery=0.05), Failing(9))


def test_as_a_decorator_it_keeps_what_the_function_is() -> None:
    healing = healed()

    @healing
    def add(a: int, b: int) -> int:
        return a + b

    @healing
    async def add_later(a: int, b: int) -> int:
        return a + b

    later: Coroutine[Any, Any, int] = add_later(1, b=2)
    assert (add(1, b=2), asyncio.run(later)) == (3, 3)
    assert add.__name__ == "add"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"attempts": 0}, "attempts=0: must be a whole number from 1 to 100"),
        ({"attempts": True}, "attempts=True: must be"),
        ({"wait_for_recovery": -1}, "wait_for_recovery=-1: must be seconds from 0 to 3600"),
        ({"longest_wait": "2"}, "longest_wait='2': must be seconds"),
        ({"retry_on": ConnectionError}, "retry_on=<class 'ConnectionError'>: must be a tuple"),
        ({"ignore": (3,)}, "must be a tuple of exception classes"),
        ({"attemps": 3}, "unknown option 'attemps', did you mean 'attempts'"),
    ],
)
def test_a_wrong_option_is_refused(settings: Any, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        HealingOptions.of(settings)
