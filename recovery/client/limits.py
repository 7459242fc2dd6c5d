"""Says what is wrong with an option of the client, in one sentence."""

import inspect
from collections.abc import Callable

from recovery.errors import ConfigurationError


def check_count(what: str, option: str, count: object, most: int) -> None:
    """Raise `ConfigurationError` unless it is a whole number from 1 to `most`."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise ConfigurationError(f"{what} option {option}={count!r}: must be a whole number from 1 to {most}.")


def check_seconds(what: str, option: str, seconds: object, most: float, *, least: float = 0.0) -> None:
    """Raise `ConfigurationError` unless it is a number from `least` to `most`."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not least <= seconds <= most:
        raise ConfigurationError(f"{what} option {option}={seconds!r}: must be seconds from {least:g} to {most:g}.")


def check_no_generator(what: str, function: Callable[..., object]) -> None:
    """Raise `TypeError` for a generator function: calling it does nothing yet, so there would be nothing to see."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{what} cannot take the generator {function.__qualname__}: its call does nothing yet; use it inside of it.")


def check_no_coroutine(what: str, function: Callable[..., object], instead: str) -> None:
    """Raise `TypeError` for a coroutine function where nobody awaits it; `instead` is what to use."""
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{what} cannot call the coroutine function {getattr(function, '__qualname__', function)}: use {instead}.")


def check_kinds(what: str, option: str, kinds: object) -> None:
    """Raise `ConfigurationError` unless it is a tuple of exception classes."""
    if not isinstance(kinds, tuple) or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise ConfigurationError(f"{what} option {option}={kinds!r}: must be a tuple of exception classes.")
