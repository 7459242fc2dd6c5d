"""Automatic degradation: when a rule puts its level in force and when it lets go again. Pure functions of recorded facts.

Between the two conditions lies the hysteresis: what holds neither changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from recovery.config.conditions import Condition
from recovery.config.degradation import DegradationRule


@dataclass(frozen=True, slots=True)
class Standing:
    """How a rule stood when it was last judged; kept, so that a restart forgets nothing."""

    in_force: bool = False
    since: datetime | None = None
    """Since when the condition that would change it holds without a break."""


def judge(rule: DegradationRule, standing: Standing, facts: Mapping[str, float], now: datetime) -> Standing:
    """Return how the rule stands now.

    A fact that is missing (nobody looked, or what was seen is too old) holds no condition: it neither degrades nor restores,
    and what is in force ends by its TTL.

    Args:
        rule: as declared.
        standing: from the last time.
        facts: metric -> value, of the rule's service or of the system.
        now: the moment of the facts.
    """
    condition, patience = (rule.until_condition, rule.calm) if standing.in_force else (rule.condition, rule.lasting)
    if not holds(condition, facts):
        return replace(standing, since=None)
    since = min(standing.since or now, now)  # a clock that was set back begins anew
    if now - since < timedelta(seconds=patience):
        return replace(standing, since=since)
    return Standing(in_force=not standing.in_force)


def holds(condition: Condition, facts: Mapping[str, float]) -> bool:
    """Say whether a condition holds; False for a metric that nobody measured."""
    value = facts.get(condition.metric)
    return value is not None and condition.met_by(value)
