"""When a circuit breaker opens, how it probes and when it closes again."""

import re
from dataclasses import dataclass, fields
from typing import TypedDict

from recovery.errors import ConfigurationError, nearest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""The same rule as for services: 1 to 100 letters, digits, `_`, `.`, `-`, beginning with a letter or digit."""

_COUNTS = {"failure_threshold": 10_000, "success_threshold": 1_000, "half_open_requests": 1_000}
_DURATIONS = ("reset_timeout", "permit_timeout")
_LONGEST = 86_400.0


class BreakerSettings(TypedDict, total=False):
    """The keywords of `client.breaker(name, ...)`; see `BreakerOptions` for their meaning."""

    failure_threshold: int
    success_threshold: int
    reset_timeout: float
    half_open_requests: int
    permit_timeout: float
    ignore: tuple[type[Exception], ...]
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOptions:
    """The options of one breaker; every process that uses a breaker should give the same.

    Raises:
        ConfigurationError: if one is out of its range.
    """

    failure_threshold: int = 5
    """Failures in a row that open it, 1 to 10,000. Default 5 (spec section 9)."""
    success_threshold: int = 2
    """Successful probes that close it again, 1 to 1,000. Default 2 (spec section 9)."""
    reset_timeout: float = 60.0
    """Seconds it stays open before callers may probe, above 0, up to one day. Default 60 (spec section 9)."""
    half_open_requests: int = 3
    """Probes under way at once while half-open, over the whole fleet, 1 to 1,000. Default 3 (spec section 9)."""
    permit_timeout: float = 60.0
    """Seconds after which a probe that never reported its end no longer counts, above 0, up to one day."""
    ignore: tuple[type[Exception], ...] = ()
    """Exceptions that say nothing about the service, such as a caller's bad input: neither failure nor success."""
    service: str = ""
    """The service that a failure is reported for when it opens; default: the breaker's name."""

    def __post_init__(self) -> None:
        for option, most in _COUNTS.items():
            count: object = getattr(self, option)
            if not isinstance(count, int) or not 1 <= count <= most:
                raise _refused(option, count, f"a whole number from 1 to {most}")
        for option in _DURATIONS:
            seconds: object = getattr(self, option)
            if not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST:
                raise _refused(option, seconds, "seconds above 0, up to 86400")
        ignored: object = self.ignore
        if not isinstance(ignored, tuple) or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in ignored):
            raise _refused("ignore", ignored, "a tuple of exception classes")
        if self.service and not NAME.fullmatch(self.service):
            raise _refused("service", self.service, "the name of a service")

    @classmethod
    def of(cls, name: str, settings: BreakerSettings) -> "BreakerOptions":
        """Return the options from keywords; raises `ConfigurationError` for an unknown one, with the nearest known name."""
        known = {field.name for field in fields(cls)}
        for option in settings:
            if option not in known:
                raise ConfigurationError(f"Breaker '{name}': unknown option '{option}'{nearest(option, known)}.")
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"Breaker name {name!r}: use 1 to 100 letters, digits, '_', '.', '-', beginning with a letter or digit."
            )
        return cls(**settings)


def _refused(option: str, value: object, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"Breaker option {option}={value!r}: must be {wanted}.")
