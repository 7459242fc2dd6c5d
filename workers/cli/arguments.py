"""The values that people type: how far back, how many seconds, and how a wrong one is shown again."""

import math
from datetime import datetime, timedelta
from typing import Any

import click

from recovery.models import utcnow

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class Since(click.ParamType[datetime]):
    """How far back: `90s`, `15m`, `2h`, `7d`, or a date and time such as `2026-01-31T08:00`."""

    name = "since"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment, which lies in the past; a date without a zone is local."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            moment = _moment(text)
        except (ValueError, OverflowError):
            self.fail(f"'{text}' is not a time: write 90s, 15m, 2h, 7d, or 2026-01-31T08:00", param, ctx)
        if moment > utcnow():
            self.fail(f"'{text}' must lie in the past: write 90s, 15m, 2h, 7d, or 2026-01-31T08:00", param, ctx)
        return moment


class Seconds(click.ParamType[float]):
    """A finite number of seconds.

    Args:
        least: the smallest allowed; None: anything above 0.
        most: the largest allowed; None: any.
    """

    name = "seconds"

    def __init__(self, least: float | None = None, most: float | None = None) -> None:
        self.least, self.most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        is_enough = seconds > 0 if self.least is None else seconds >= self.least
        if not (math.isfinite(seconds) and is_enough and (self.most is None or seconds <= self.most)):
            bounds = "above 0" if self.least is None else f"from {self.least:g} to {self.most:g}"
            self.fail(f"'{value}' must be a number of seconds {bounds}", param, ctx)
        return seconds


class Length(click.ParamType[timedelta]):
    """How long something lasts: `90s`, `30m`, `2h`, `1d`, or plain seconds."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the length, which is above 0."""
        if isinstance(value, timedelta):
            return value
        text = str(value).strip()
        try:
            length = timedelta(seconds=_seconds(text))
        except (ValueError, OverflowError):
            self.fail(f"'{text}' is not a length of time: write 90s, 30m, 2h, 1d, or plain seconds", param, ctx)
        if length <= timedelta():
            self.fail(f"'{text}' must be above 0", param, ctx)
        return length


class Moment(click.ParamType[datetime]):
    """A date and time such as `2026-01-31T08:00`; without a zone it is local."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment, aware."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            return datetime.fromisoformat(text).astimezone()
        except (ValueError, OverflowError):
            self.fail(f"'{text}' is not a date and time: write 2026-01-31T08:00 (local) or 2026-01-31T08:00Z", param, ctx)


class Label(click.ParamType[tuple[str, str]]):
    """A label as `key=value`."""

    name = "key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return key and value."""
        if isinstance(value, tuple):
            return value
        key, equals, held = str(value).partition("=")
        if not (key and equals and held):
            self.fail(f"'{value}' is not a label: write key=value, such as team=payments", param, ctx)
        return key, held


class Share(click.ParamType[tuple[str, int]]):
    """How much of a capability is left: `name=percent`."""

    name = "name=percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return name and percentage."""
        if isinstance(value, tuple):
            return value
        name, _, percent = str(value).rpartition("=")
        if not (name and percent.isdecimal() and int(percent) <= 100):
            self.fail(f"'{value}' is not what is left of a capability: write name=percent, 0 to 100, such as workers=30", param, ctx)
        return name, int(percent)


class Percentages(click.ParamType[tuple[int, ...]]):
    """The stages of a ramp: `10,50`."""

    name = "percentages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the percentages, which rise from 1 to 99 at most."""
        from recovery.config.degradation import rising

        if isinstance(value, tuple):
            return value
        try:
            return rising(tuple(int(part) for part in str(value).split(",")))
        except ValueError:
            self.fail(f"'{value}' is no ramp: write rising percentages from 1 to 99, such as 10,50", param, ctx)


def _moment(text: str) -> datetime:
    if text[-1:] in UNITS:
        return utcnow() - timedelta(seconds=_seconds(text))
    return datetime.fromisoformat(text).astimezone()


def _seconds(text: str) -> float:
    """Return the seconds that `90s`, `15m` or `90` mean; raises `ValueError` for what is no such text."""
    seconds = float(text[:-1]) * UNITS[text[-1]] if text[-1:] in UNITS else float(text)
    if not math.isfinite(seconds):
        raise ValueError(text)
    return seconds
