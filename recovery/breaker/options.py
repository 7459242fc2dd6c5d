"""When a circuit breaker opens, how it probes and when it closes again."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Literal, TypedDict, TypeGuard

from recovery.errors import ConfigurationError, nearest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
"""The same rule as for services: 1 to 100 letters, digits, `_`, `.`, `-`, beginning with a letter or digit."""

Mode = Literal["auto", "metrics_only", "disabled", "forced_open"]
MODES: tuple[Mode, ...] = ("auto", "metrics_only", "disabled", "forced_open")

Kinds = tuple[type[Exception], ...]
Picks = Kinds | Callable[[Exception], bool]
"""Exception classes, or a function that says yes to some exceptions."""

_LONGEST = 86_400.0
_COUNTS = {
    "success_threshold": 1_000,
    "half_open_requests": 1_000,
    "minimum_requests": 100_000,
    "quorum": 1_000,
}
_SECONDS = ("reset_timeout", "max_reset_timeout", "permit_timeout", "ramp_stage")


class BreakerSettings(TypedDict, total=False):
    """The keywords of `client.breaker(name, ...)`; see `BreakerOptions` for their meaning."""

    failure_threshold: int | None
    failure_rate: float | None
    slow_call_duration: float | None
    slow_call_rate: float
    window_calls: int | None
    window_seconds: float | None
    minimum_requests: int
    success_threshold: int
    half_open_requests: int
    permit_timeout: float
    reset_timeout: float
    backoff_factor: float
    max_reset_timeout: float
    jitter: float
    ramp: tuple[int, ...]
    ramp_stage: float
    quorum: int
    record: Picks
    ignore: Picks
    record_result: Callable[[object], bool] | None
    mode: Mode
    service: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerOptions:
    """The options of one breaker; every process that uses a breaker should give the same.

    Raises:
        ConfigurationError: if one is out of its range.
    """

    failure_threshold: int | None = 5
    """Failures in a row that open it, 1 to 10,000. Default 5 (spec section 9); None: runs of failures do not count."""
    failure_rate: float | None = None
    """Share of failed calls in the window that opens it, above 0, up to 1, such as 0.5. Default None: the share does not count."""
    slow_call_duration: float | None = None
    """Seconds from which a call is slow, above 0, up to one day. Default None: calls are not timed."""
    slow_call_rate: float = 1.0
    """Share of slow calls in the window that opens it, above 0, up to 1. Default 1 (resilience4j's)."""
    window_calls: int | None = None
    """The window is the last so many calls, 1 to 100,000. Default 100 (resilience4j's), unless `window_seconds` is given."""
    window_seconds: float | None = None
    """The window is the last so many seconds, 1 to one day, in steps of a tenth of it. Default None: the window counts calls."""
    minimum_requests: int = 20
    """Calls in the window before a share means anything, 1 to 100,000. Default 20 (Hystrix's `requestVolumeThreshold`)."""
    success_threshold: int = 2
    """Successful probes that end half-open, 1 to 1,000. Default 2 (spec section 9)."""
    half_open_requests: int = 3
    """Probes under way at once while half-open, over the whole fleet, 1 to 1,000. Default 3 (spec section 9)."""
    permit_timeout: float = 60.0
    """Seconds after which a probe that never reported its end no longer counts, above 0, up to one day."""
    reset_timeout: float = 60.0
    """Seconds it stays open the first time, above 0, up to one day. Default 60 (spec section 9)."""
    backoff_factor: float = 2.0
    """Each opening without a closing in between lasts so many times longer, 1 to 100. Default 2; 1: always the same time."""
    max_reset_timeout: float = 600.0
    """Seconds it stays open at most, above 0, up to one day; a longer `reset_timeout` counts instead. Default 600."""
    jitter: float = 0.1
    """Part of the open time by which it varies in either direction, 0 to 1. Default 0.1; the ceiling holds nevertheless."""
    ramp: tuple[int, ...] = ()
    """Percentages of calls that are let through after the probes, rising, each 1 to 99, such as (1, 10, 50). Default: all at once."""
    ramp_stage: float = 10.0
    """Seconds that each percentage of `ramp` lasts, above 0, up to one day. Default 10."""
    quorum: int = 1
    """Distinct processes that must have opened it for themselves before it opens for the fleet, 1 to 1,000. Default 1: the window is
    counted over the whole fleet."""
    record: Picks = field(default=(Exception,), hash=False)  # functions need not have a hash
    """Exceptions that are failures: classes, or a function of the exception. Default: all; any other counts as a success."""
    ignore: Picks = field(default=(), hash=False)
    """Exceptions that say nothing about the service, such as a caller's bad input: neither failure nor success. Goes before `record`."""
    record_result: Callable[[object], bool] | None = field(default=None, hash=False)
    """Says of a returned value that it is a failure, such as a response with status 503. Default None: what returns is a success."""
    mode: Mode = "auto"
    """How it begins: `metrics_only` counts and never refuses, `disabled` does not even count, `forced_open` refuses all. What an operator
    sets for the fleet goes before it."""
    service: str = ""
    """The service that a failure is reported for when it opens; default: the breaker's name."""

    def __post_init__(self) -> None:
        for option, most in _COUNTS.items():
            _check_count(option, getattr(self, option), most)
        _check_opening(self)
        for option in _SECONDS:
            _check_seconds(option, getattr(self, option))
        _check_number("backoff_factor", self.backoff_factor, 1, 100)
        _check_number("jitter", self.jitter, 0, 1)
        _check_ramp(self.ramp)
        for option in ("record", "ignore"):
            _check_picks(option, getattr(self, option))
        if self.record_result is not None and not callable(self.record_result):
            raise _refused("record_result", self.record_result, "a function of the returned value, or None")
        if self.mode not in MODES:
            raise _refused("mode", self.mode, f"one of {', '.join(MODES)}{nearest(str(self.mode), MODES)}")
        if self.service != "" and not is_name(self.service):
            raise _refused("service", self.service, "the name of a service")

    @property
    def calls_in_window(self) -> int | None:
        """Return how many calls the window holds, None if it counts seconds."""
        if self.window_seconds is not None:
            return None
        return 100 if self.window_calls is None else self.window_calls

    @property
    def has_rates(self) -> bool:
        """Say whether shares of calls can open it, so that successes must be counted."""
        return self.failure_rate is not None or self.slow_call_duration is not None

    @classmethod
    def of(cls, name: str, settings: BreakerSettings) -> "BreakerOptions":
        """Return the options from keywords; raises `ConfigurationError` for an unknown one, with the nearest known name."""
        known = {each.name for each in fields(cls)}
        for option in settings:
            if option not in known:
                raise ConfigurationError(f"Breaker '{name}': unknown option '{option}'{nearest(option, known) or '.'}")
        if not is_name(name):
            raise ConfigurationError(
                f"Breaker name {name!r}: use 1 to 100 letters, digits, '_', '.', '-', beginning with a letter or digit."
            )
        return cls(**settings)


def _check_opening(options: BreakerOptions) -> None:
    """Check what can open it, and the window that the shares are taken of."""
    if options.failure_threshold is not None:
        _check_count("failure_threshold", options.failure_threshold, 10_000)
    if options.failure_rate is not None:
        _check_share("failure_rate", options.failure_rate)
    _check_share("slow_call_rate", options.slow_call_rate)
    if options.slow_call_duration is not None:
        _check_seconds("slow_call_duration", options.slow_call_duration)
    if options.failure_threshold is None and not options.has_rates:
        raise ConfigurationError("Breaker options: nothing can open it; give failure_threshold, failure_rate or slow_call_duration.")
    if options.window_calls is not None and options.window_seconds is not None:
        raise ConfigurationError("Breaker options window_calls and window_seconds: a window counts calls or seconds; give one of them.")
    if options.window_calls is not None:
        _check_count("window_calls", options.window_calls, 100_000)
    if options.window_seconds is not None:
        _check_number("window_seconds", options.window_seconds, 1, _LONGEST)
    calls = options.calls_in_window
    if options.has_rates and calls is not None and options.minimum_requests > calls:
        raise ConfigurationError(
            f"Breaker option minimum_requests={options.minimum_requests}: the window holds only {calls} calls, so it could never open; "
            "lower it or raise window_calls."
        )


def _check_count(option: str, count: object, most: int) -> None:
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= most:
        raise _refused(option, count, f"a whole number from 1 to {most}")


def _check_share(option: str, share: object) -> None:
    if not _is_number(share) or not 0 < share <= 1:
        raise _refused(option, share, "a share above 0, up to 1, such as 0.5 for half of the calls")


def _check_seconds(option: str, seconds: object) -> None:
    if not _is_number(seconds) or not 0 < seconds <= _LONGEST:
        raise _refused(option, seconds, "seconds above 0, up to 86400")


def _check_number(option: str, number: object, least: float, most: float) -> None:
    if not _is_number(number) or not least <= number <= most:
        raise _refused(option, number, f"a number from {least:g} to {most:g}")


def _check_ramp(ramp: object) -> None:
    if not isinstance(ramp, tuple) or not all(_is_percentage(share) for share in ramp) or sorted(set(ramp)) != list(ramp):
        raise _refused("ramp", ramp, "a tuple of rising percentages from 1 to 99, such as (1, 10, 50)")


def _check_picks(option: str, picks: object) -> None:
    classes = isinstance(picks, tuple) and all(isinstance(kind, type) and issubclass(kind, Exception) for kind in picks)
    if not classes and (isinstance(picks, type) or not callable(picks)):
        raise _refused(option, picks, "a tuple of exception classes, or a function of the exception")


def _is_percentage(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 99


def is_name(value: object) -> TypeGuard[str]:
    """Say whether a breaker or a service can have this name."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(option: str, value: object, wanted: str) -> ConfigurationError:
    end = "" if wanted.endswith("?") else "."
    return ConfigurationError(f"Breaker option {option}={value!r}: must be {wanted}{end}")
