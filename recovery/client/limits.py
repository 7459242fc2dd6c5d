"""Says what is wrong with an option of the client, in one sentence."""

from recovery.errors import ConfigurationError


def check_count(what: str, option: str, count: object, most: int) -> None:
    """Raise `ConfigurationError` unless it is a whole number from 1 to `most`."""
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise ConfigurationError(f"{what} option {option}={count!r}: must be a whole number from 1 to {most}.")


def check_seconds(what: str, option: str, seconds: object, most: float) -> None:
    """Raise `ConfigurationError` unless it is a number from 0 to `most`."""
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= most:
        raise ConfigurationError(f"{what} option {option}={seconds!r}: must be seconds from 0 to {most:g}.")


def check_kinds(what: str, option: str, kinds: object) -> None:
    """Raise `ConfigurationError` unless it is a tuple of exception classes."""
    if not isinstance(kinds, tuple) or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise ConfigurationError(f"{what} option {option}={kinds!r}: must be a tuple of exception classes.")
