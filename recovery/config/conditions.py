"""Conditions like `health_score < 50`, as operators write them."""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from recovery.errors import listing, nearest

SERVICE_METRICS = {"health_score": 100.0, "change_rate": 100.0, "open_recoveries": 1.0}
"""What is known of one service, and the largest value of each; none is below 0."""
SYSTEM_METRICS = {"health_score": 100.0, "unhealthy_percent": 100.0, "open_recoveries": math.inf, "open_breakers": math.inf}
"""What is known of the system, likewise."""

_OPERATORS: dict[str, Callable[[float, float], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_OPPOSITE = {"<": ">", "<=": ">", ">": "<", ">=": "<"}
_FORM = re.compile(r"\s*([a-z_]+)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True, slots=True)
class Condition:
    """A metric compared with a number."""

    metric: str
    sign: str
    """`<`, `<=`, `>` or `>=`."""
    number: float
    top: float = math.inf
    """The largest value that the metric can have."""

    def met_by(self, value: float) -> bool:
        """Say whether a measured value meets it."""
        return _OPERATORS[self.sign](value, self.number)

    def relieved(self, margin: float = 0.1) -> "Condition":
        """Return the condition on the other side, `margin` (a part of the number) beyond it, or at the end of what the metric can be."""
        upwards = self.sign[0] == "<"
        beyond = self.number * (1 + margin if upwards else 1 - margin)
        wanted = replace(self, sign=_OPPOSITE[self.sign], number=beyond)
        if wanted.can_be_met():
            return wanted
        end = replace(self, sign=">=" if upwards else "<=", number=self.top if upwards else 0.0)
        return end if self.excludes(end) else wanted

    def can_be_met(self) -> bool:
        """Say whether any value of the metric meets it."""
        return self.met_by(0.0) or self.met_by(self.top)

    def is_always_met(self) -> bool:
        """Say whether every value of the metric meets it."""
        return self.met_by(0.0) and self.met_by(self.top)

    def excludes(self, other: "Condition") -> bool:
        """Say whether no value meets both: only then do they not take turns for ever."""
        if self.metric != other.metric or self.sign[0] == other.sign[0]:
            return False
        low, high = (self, other) if self.sign[0] == "<" else (other, self)
        both_include = low.sign == "<=" and high.sign == ">="
        return low.number < high.number or (low.number == high.number and not both_include)

    def __str__(self) -> str:
        return f"{self.metric} {self.sign} {self.number:g}"


def condition_of(text: str, metrics: Mapping[str, float]) -> Condition:
    """Return the condition that `text` says about one of `metrics`; raises `ValueError` with what is wrong in one sentence."""
    form = _FORM.fullmatch(text)
    if form is None:
        raise ValueError(f"must be a metric, one of < <= > >=, and a number, such as 'health_score < 50', not {text!r}")
    metric, sign, number = form.groups()
    if metric not in metrics:
        raise ValueError(f"unknown metric '{metric}'{nearest(metric, metrics)} (known: {listing(metrics)})")
    return Condition(metric, sign, float(number), metrics[metric])
