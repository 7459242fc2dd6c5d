"""Reports what goes wrong in a block or a function and lets it go on its way unchanged."""

import functools
import inspect
from collections.abc import Callable
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, cast

from recovery.client.limits import check_no_generator
from recovery.errors import CircuitOpen

P = ParamSpec("P")
T = TypeVar("T")


class Guard:
    """A decorator (sync or async) and context manager; keeps no state, so one may be used at many places at once.

    Args:
        report: Called with the exception.
        ignore: Exceptions that say nothing about the service.
    """

    def __init__(self, report: Callable[[Exception], object], ignore: tuple[type[Exception], ...]) -> None:
        self._report = report
        self._ignore = (*ignore, CircuitOpen)  # the opening of the circuit was reported already

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Return `function` guarded; a coroutine function stays one.

        Raises:
            TypeError: for a generator function, whose calls do nothing yet; write `with client.guard(...):` inside it.
        """
        check_no_generator("A guard", function)
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def guarded_coroutine(*args: P.args, **kwargs: P.kwargs) -> object:
                with self:
                    return await function(*args, **kwargs)

            return cast("Callable[P, T]", guarded_coroutine)

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            with self:
                return function(*args, **kwargs)

        return guarded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, Exception) and not isinstance(error, self._ignore):
            self._report(error)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.__exit__(kind, error, traceback)
