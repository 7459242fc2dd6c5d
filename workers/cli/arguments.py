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


def _moment(text: str) -> datetime:
    if text[-1:] in UNITS:
        return utcnow() - timedelta(seconds=float(text[:-1]) * UNITS[text[-1]])
    return datetime.fromisoformat(text).astimezone()
