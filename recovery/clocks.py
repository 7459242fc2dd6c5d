"""What a clock that was stepped leaves behind in the rows, and how to see through it. Pure functions.

A clock may be set back or forward by minutes: by hand, by NTP after a long sleep, by a restored virtual machine. What was
written before it was set back lies in the future then. Forward steps need nothing here: what they end too early, fences and
guards protect.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from recovery.models import CheckState, ServiceState

SKEW = timedelta(seconds=5)
"""How far the clocks of two hosts may disagree; a stored moment further ahead was written by a clock that was wrong."""
LONGEST = 3
"""A span counts as over when more than so many times its own length seems to be left of it."""


def ahead(moment: datetime | None, now: datetime | None) -> bool:
    """Say whether a stored moment lies further in the future of `now` than clocks disagree; False where either is not known."""
    return moment is not None and now is not None and moment > now + SKEW


def still_runs(since: datetime, until: datetime, now: datetime) -> bool:
    """Say whether what began at `since` and lasts until `until` has not ended at `now`, an implausible rest counting as ended."""
    return now < until <= now + LONGEST * (until - since)


def pulled_back(moment: datetime | None, now: datetime | None) -> datetime | None:
    """Return `moment`, or `now` if it lies ahead of it."""
    return now if ahead(moment, now) else moment


def check_until(state: CheckState, now: datetime | None) -> CheckState:
    """Return a verdict that remembers nothing from the future."""
    if not ahead(state.first_failure_at, now):
        return state
    return replace(state, first_failure_at=now)


def service_until(state: ServiceState, now: datetime | None) -> ServiceState:
    """Return a service state that remembers nothing from the future: what seems to come later is taken for just now."""
    kept = (state.since, state.started_at, state.stable_since)
    if not any(ahead(moment, now) for moment in kept):
        return state
    since, started_at, stable_since = (pulled_back(moment, now) for moment in kept)
    return replace(state, since=since, started_at=started_at, stable_since=stable_since)
