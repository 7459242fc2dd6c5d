"""Declarations of what can be done without: features, capabilities, and the rules that degrade by themselves."""

import math
from typing import Annotated, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from recovery.config.base import Declaration, Seconds, SecondsOrZero
from recovery.config.conditions import SERVICE_METRICS, SYSTEM_METRICS, Condition, condition_of
from recovery.models import Level, ServiceName

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

    def at(self, level: Level) -> int | None:
        """Return the percentage declared for `level` itself, None if there is none."""
        declared: int | None = getattr(self, level.value, None)
        return declared


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
    def metrics(self) -> tuple[str, ...]:
        """Return the metrics that its conditions may name."""
        return SERVICE_METRICS if self.service else SYSTEM_METRICS

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

    @model_validator(mode="after")
    def _can_take_turns(self) -> Self:
        for name, condition in (("when", self.condition), ("until", self.until_condition)):
            if not condition.can_be_met():
                limits = f"from 0 to {condition.top:g}" if condition.top < math.inf else "0 or more"
                raise ValueError(f"{name} ({condition}) can never hold: {condition.metric} is {limits}")
        return self

    @model_validator(mode="after")
    def _has_a_gap(self) -> Self:
        if not self.condition.excludes(self.until_condition):
            raise ValueError(f"until ({self.until_condition}) must be on the other side of when ({self.condition}), or it would never rest")
        return self
