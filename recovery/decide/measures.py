"""What automatic rules of degradation are judged by: a few numbers about each service and about the system. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from recovery.config.fleet import Fleet
from recovery.degrade.keys import SYSTEM
from recovery.models import BreakerState, BreakerView, Recovery, ServiceState, Status
from recovery.watch.sight import blindness, overlooked

REFUSING = frozenset({BreakerState.OPEN, BreakerState.REPAIRING, BreakerState.FORCED_OPEN})
"""States in which a breaker counts as open."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number, and when it was looked at: what nobody confirms does not last."""

    value: float
    at: datetime


Measures = Mapping[str, Mapping[str, Measure]]
"""Service, or `*` for the system -> metric -> number. What nobody knows is left out."""


def measured(
    fleet: Fleet,
    states: Mapping[str, ServiceState],
    recoveries: Iterable[Recovery],
    breakers: Iterable[BreakerView] | None,
    now: datetime,
) -> Measures:
    """Return the numbers that are known at `now`; none at all while the platform is blind.

    The system's `health_score` is the mean of the services that are looked at, `unhealthy_percent` their share that is unhealthy;
    both are as of the newest look.

    Args:
        fleet: what is declared.
        states: what the sweeps saw, by service.
        recoveries: the open ones.
        breakers: every shared breaker; None: nobody can tell.
        now: the time.
    """
    if blindness(states, fleet, now) is not None:
        return {}
    lost = overlooked(states, fleet, now)
    seen = {name: states[name] for name in fleet.services if name in states and name not in lost}
    looks = {name: min(state.seen_at, now) for name, state in seen.items() if state.seen_at}
    being_recovered = [recovery.service for recovery in recoveries]
    found = {name: {"open_recoveries": Measure(being_recovered.count(name), now)} for name in fleet.services}
    for name, at in looks.items():
        found[name] |= {"health_score": Measure(seen[name].score, at), "change_rate": Measure(seen[name].change_rate, at)}
    system = {"open_recoveries": Measure(len(being_recovered), now)}
    if breakers is not None:
        system["open_breakers"] = Measure(sum(breaker.state in REFUSING for breaker in breakers), now)
    if looks:
        newest, many = max(looks.values()), len(looks)
        system["health_score"] = Measure(sum(seen[name].score for name in looks) / many, newest)
        unhealthy = sum(seen[name].status is Status.UNHEALTHY for name in looks)
        system["unhealthy_percent"] = Measure(100 * unhealthy / many, newest)
    return {**found, SYSTEM: system}
