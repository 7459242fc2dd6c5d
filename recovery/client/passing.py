"""Carries ignored exceptions past a breaker: it counts no `BaseException`, neither as a failure nor as a success."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Kinds = tuple[type[Exception], ...]


class Passing(BaseException):
    """An ignored exception on its way past a breaker; whoever called the breaker takes it out again."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def passing(function: Callable[P, T], ignore: Kinds) -> Callable[P, T]:
    """Return `function`, with `Passing` raised for what is ignored."""
    if not ignore:
        return function

    def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except ignore as error:
            raise Passing(error) from None

    return called


def passing_async(function: Callable[P, Awaitable[T]], ignore: Kinds) -> Callable[P, Awaitable[T]]:
    """Do what `passing` does for a coroutine function."""
    if not ignore:
        return function

    async def called(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except ignore as error:
            raise Passing(error) from None

    return called
