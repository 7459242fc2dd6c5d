"""The action budget: how much may be recovered at once over the fleet, so that a cure for many is not worse than the illness. Pure.

A storm is when so many services are sick at once that a common cause is likely; then less is done at once, not more.
"""

import math
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.models import Load, Quota

BUDGET = "action_budget"
"""The guard that holds what the budget leaves no room for."""


def storm_from(fleet: Fleet) -> int:
    """Return how many open recoveries (those by hand left out) make a storm: `storm_at` percent of the services, at least `storm_min`."""
    budget = fleet.platform.budget
    return max(budget.storm_min, math.ceil(len(fleet.services) * budget.storm_at / 100))


def is_storm(fleet: Fleet, load: Load) -> bool:
    """Say whether so much is sick at once that it is a storm."""
    return load.open >= storm_from(fleet)


def concurrent(fleet: Fleet, load: Load) -> int:
    """Return how many recoveries may be in progress at once.

    That is `percent` (in a storm `storm_percent`, if that is less) of the declared services, rounded down, at least 1; and
    never more than `max_concurrent_recoveries`.
    """
    platform, allowed = fleet.platform, fleet.platform.budget
    share = min(allowed.percent, allowed.storm_percent) if is_storm(fleet, load) else allowed.percent
    limit = max(1, math.floor(len(fleet.services) * share / 100))
    return min(limit, platform.max_concurrent_recoveries or limit)


def quota(fleet: Fleet, load: Load, now: datetime) -> Quota:
    """Return the limits as the store must hold them when a recovery begins."""
    budget = fleet.platform.budget
    since = now - timedelta(seconds=budget.window) if budget.per_window else None
    return Quota(concurrent(fleet, load), budget.per_window, since)


def free(fleet: Fleet, load: Load) -> int:
    """Return how many more recoveries may begin now."""
    by_number = concurrent(fleet, load) - load.in_progress
    per_window = fleet.platform.budget.per_window
    return max(0, by_number if per_window is None else min(by_number, per_window - load.begun))
