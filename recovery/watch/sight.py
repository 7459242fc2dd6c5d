"""Does the platform still see? What checks said long ago is nothing to act on."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from recovery.config.fleet import Fleet
from recovery.models import CheckState, ServiceState

Key = tuple[str, str]
"""Service and check."""

AHEAD = timedelta(seconds=60)
"""A sign of life dated further in the future than this is from before the clock was set back, and says nothing."""
LAST_WORD = 5.0
"""Seconds beyond its slowest check that a sweep may take to be recorded."""


def blindness(states: Mapping[str, ServiceState], fleet: Fleet, now: datetime) -> str | None:
    """Say in one sentence why the platform is blind; None when it sees, or when no check is declared.

    It sees while the newest sweep of any service is not older than `sight_limit`.

    Args:
        states: what is known about every service, by name.
        fleet: says what is watched, how often, and how long that may fail (`blind_after`).
        now: the time.
    """
    limit = sight_limit(fleet)
    if limit is None:
        return None
    looks = looks_of(states, fleet)
    if not looks:
        return "no sweep was ever recorded: nothing is known about any service"
    credible = [at for at in looks if at <= now + AHEAD]
    if not credible:
        ahead = (min(looks) - now).total_seconds()
        return f"every sweep is dated at least {ahead:.0f} s in the future: the clock was set back, and nobody has looked since"
    age = (now - max(credible)).total_seconds()
    return f"no sweep for {age:.0f} s (limit {limit:g} s): what the checks said is too old to act on" if age > limit else None


def sight_limit(fleet: Fleet) -> float | None:
    """Return the seconds without any sweep after which the platform is blind; None when no check is declared.

    The shortest check interval and `blind_after`, or the time that the slowest check may take if that is longer.
    """
    intervals = fleet.intervals()
    if not intervals:
        return None
    slowest = max(check.timeout for service in fleet.services.values() for check in service.checks)
    return intervals[0] + max(fleet.platform.blind_after, slowest + LAST_WORD)


def overlooked(states: Mapping[str, ServiceState], fleet: Fleet, now: datetime) -> dict[str, float]:
    """Return the services that nobody looks at any more although others are looked at, with the seconds since the last look.

    Such as one shard whose sweeps always break. A service counts from two of its shortest check intervals and
    `blind_after` (or the time that its slowest check may take, if that is longer); one that was never seen does not.
    """
    found: dict[str, float] = {}
    for service in fleet.services.values():
        state = states.get(service.name)
        if not service.checks or state is None or state.seen_at is None:
            continue
        slowest = max(check.timeout for check in service.checks)
        age = (now - state.seen_at).total_seconds()
        if age > 2 * min(check.interval for check in service.checks) + _patience(fleet, slowest):
            found[service.name] = age
    return found


def overlooked_checks(checks: Mapping[Key, CheckState], fleet: Fleet, now: datetime) -> dict[str, float]:
    """Return the checks (`service.check`) that nobody makes any more, with the seconds since the last look.

    Such as the only one of its interval, whose sweeps always break, while the service's other checks keep it looking well seen. A check
    counts from two of its intervals and `blind_after` (or the time that it may take, if that is longer); one without a verdict does not:
    it was only just declared, or its service only just started.
    """
    found: dict[str, float] = {}
    for service in fleet.services.values():
        for check in service.checks:
            verdict = checks.get((service.name, check.name))
            age = (now - verdict.at).total_seconds() if verdict and verdict.at else 0.0
            if age > 2 * check.interval + _patience(fleet, check.timeout):
                found[f"{service.name}.{check.name}"] = age
    return found


def _patience(fleet: Fleet, timeout: float) -> float:
    return max(fleet.platform.blind_after, timeout + LAST_WORD)


def looks_of(states: Mapping[str, ServiceState], fleet: Fleet) -> list[datetime]:
    """Return when each service that has checks was last looked at; those never seen are left out."""
    watched = (states.get(service.name) for service in fleet.services.values() if service.checks)
    return [state.seen_at for state in watched if state is not None and state.seen_at is not None]
