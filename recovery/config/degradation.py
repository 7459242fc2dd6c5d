"""Declarations of what can be done without: features, capabilities, and the rules that degrade by themselves."""

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from recovery.config.base import Declaration, Seconds, SecondsOrZero
from recovery.config.conditions import SERVICE_METRICS, SYSTEM_METRICS, Condition, condition_of
from recovery.models import Level, ServiceName

LEVELS = frozenset(level.value for level in Level)
"""As keys of a capability."""

Percent = Annotated[int, Field(ge=0, le=100)]
"""Of the whole."""


def rising(percentages: tuple[int, ...]) -> tuple[int, ...]:
    """Return the percentages of a ramp as they are; raises `ValueError` if they are none."""
    if any(not 1 <= percent <= 99 for percent in percentages) or sorted(set(percentages)) != list(percentages):
        raise ValueError("must be rising percentages from 1 to 99, such as [10, 50]")
    return percentages


Ramp = Annotated[tuple[int, ...], AfterValidator(rising)]
"""Percentages that follow each other until everything is as before."""


def _no_normal(level: Level) -> Level:
    if level is Level.NORMAL:
        raise ValueError("'normal' degrades nothing; choose partial, limited, minimal or emergency")
    return level


class FeatureDeclaration(Declaration):
    """`[features.NAME]`: something that services can do without, and from which level of degradation on they do."""

    priority: Annotated[int, Field(ge=1, le=100)] = 50
    """1 goes first, 100 stays at every level. `partial` switches off up to 25, `limited` 50, `minimal` 75, `emergency` 99."""
    off_from: Level | None = None
    """The mildest level that switches it off, whatever its priority."""
    service: ServiceName | None = None
    """Only the degradations of this service, and the system's, switch it off; default: any service's."""

    @field_validator("off_from")
    @classmethod
    def _degrades(cls, level: Level | None) -> Level | None:
        return _no_normal(level) if level else None


class CapabilityDeclaration(Declaration):
    """`[capabilities.NAME]`: how much of something each level leaves, in percent; one left out leaves what the next milder does."""

    partial: Percent | None = None
    limited: Percent | None = None
    minimal: Percent | None = None
    emergency: Percent | None = None
    service: ServiceName | None = None
    """Only the degradations of this service, and the system's, limit it; default: any service's."""

    @field_validator("limited", "minimal", "emergency")
    @classmethod
    def _leaves_no_more(cls, percent: int | None, info: ValidationInfo) -> int | None:
        milder = [(name, left) for name, left in info.data.items() if name in LEVELS and left is not None]
        if percent is not None and milder and percent > milder[-1][1]:
            name, left = milder[-1]
            raise ValueError(f"leaves {percent} percent where '{name}' leaves {left}: a worse level must not leave more than a milder one")
        return percent

    def at(self, level: Level) -> int | None:
        """Return the percentage declared for `level` itself, None if there is none."""
        declared: int | None = getattr(self, level.value, None)
        return declared


def not_for(service: str, kind: str, name: str, declared: FeatureDeclaration | CapabilityDeclaration) -> str | None:
    """Return why no degradation of `service` may name it, in a sentence; None if it may: it is everybody's, or the service's own."""
    if declared.service in {None, service}:
        return None
    does = "switch it off" if kind == "feature" else "limit it"
    return f"{kind} '{name}' is declared for {declared.service}: only the degradations of {declared.service}, and the system's, {does}"


class DegradationRule(Declaration):
    """`[[degradation]]`: a level that is put in force while a condition holds, and let go on the other side of a gap (hysteresis)."""

    name: ServiceName
    service: ServiceName | None = None
    """Default: the whole system."""
    when: str
    """A metric, one of `< <= > >=`, and a number: `health_score < 50`."""
    lasting: SecondsOrZero = Field(default=0.0, alias="for")
    """Seconds that `when` must hold without a break."""
    until: str | None = None
    """What must hold to let go; no value may meet both. Default: a tenth beyond the number of `when`, on the other side."""
    calm: SecondsOrZero = 60.0
    """Seconds that `until` must hold without a break."""
    level: Level
    ttl: Seconds = 900.0
    """Seconds after which it ends by itself; renewed while the rule holds."""
    ramp: Ramp = ()
    """Percentages of callers, rising, each 1 to 99, who are let back in turn when it ends."""
    ramp_stage: Seconds = 30.0
    """Seconds that each of them lasts."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Return the metrics that its conditions may name, with the largest value of each."""
        return _metrics_of(self.service)

    @property
    def condition(self) -> Condition:
        """Return when it puts its level in force."""
        return condition_of(self.when, self.metrics)

    @property
    def until_condition(self) -> Condition:
        """Return when it lets go."""
        return condition_of(self.until, self.metrics) if self.until else self.condition.relieved()

    @field_validator("level")
    @classmethod
    def _degrades(cls, level: Level) -> Level:
        return _no_normal(level)

    @field_validator("when")
    @classmethod
    def _can_begin(cls, when: str, info: ValidationInfo) -> str:
        condition = condition_of(when, _metrics_in(info))
        if condition.is_always_met():
            raise ValueError(f"{condition} always holds ({_range_of(condition)}), so it would never let go")
        _require_possible(condition)
        return when

    @field_validator("until")
    @classmethod
    def _can_end(cls, until: str | None, info: ValidationInfo) -> str | None:
        if until is None or "when" not in info.data:
            return until
        metrics = _metrics_in(info)
        begin, end = condition_of(info.data["when"], metrics), condition_of(until, metrics)
        if end.metric != begin.metric:
            raise ValueError(f"{end} must be about {begin.metric}, like when ({begin})")
        _require_possible(end)
        if not begin.excludes(end):
            raise ValueError(f"{end} must be on the other side of when ({begin}), or it would never rest")
        return until


def _metrics_of(service: str | None) -> Mapping[str, float]:
    return SERVICE_METRICS if service else SYSTEM_METRICS


def _metrics_in(info: ValidationInfo) -> Mapping[str, float]:
    """Return the metrics of the rule that is read; all there are where its `service` is no name."""
    return _metrics_of(info.data["service"]) if "service" in info.data else {**SERVICE_METRICS, **SYSTEM_METRICS}


def _require_possible(condition: Condition) -> None:
    if not condition.can_be_met():
        raise ValueError(f"{condition} can never hold: {_range_of(condition)}")


def _range_of(condition: Condition) -> str:
    return f"{condition.metric} is " + (f"from 0 to {condition.top:g}" if condition.top < math.inf else "0 or more")
