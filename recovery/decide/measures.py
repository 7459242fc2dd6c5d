"""What automatic rules of degradation are judged by: a few numbers about each service and about the system. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from recovery.config.fleet import Fleet
from recovery.degrade.keys import SYSTEM
from recovery.models import BreakerState, BreakerView, Recovery, ServiceState, Status
from recovery.watch.sight import blindness, overlooked

REFUSING = frozenset({BreakerState.OPEN, BreakerState.REPAIRING, BreakerState.FORCED_OPEN})
"""States in which a breaker counts as open."""

Measures = Mapping[str, Mapping[str, float]]
"""Service, or `*` for the system -> metric -> value. What nobody knows is left out."""


def measured(
    fleet: Fleet,
    states: Mapping[str, ServiceState],
    recoveries: Iterable[Recovery],
    breakers: Iterable[BreakerView],
    now: datetime,
) -> Measures:
    """Return the numbers that are known at `now`; none at all while the platform is blind.

    The system's `health_score` is the mean of the services that are looked at, `unhealthy_percent` their share that is unhealthy.

    Args:
        fleet: what is declared.
        states: what the sweeps saw, by service.
        recoveries: the open ones.
        breakers: every shared breaker.
        now: the time.
    """
    if blindness(states, fleet, now) is not None:
        return {}
    lost = overlooked(states, fleet, now)
    seen = {name: states[name] for name in fleet.services if name in states and states[name].seen_at and name not in lost}
    being_recovered = [recovery.service for recovery in recoveries]
    of_services = {name: {"open_recoveries": float(being_recovered.count(name))} for name in fleet.services}
    for name, state in seen.items():
        of_services[name] |= {"health_score": float(state.score), "change_rate": state.change_rate}
    system = {
        "open_recoveries": float(len(being_recovered)),
        "open_breakers": float(sum(breaker.state in REFUSING for breaker in breakers)),
    }
    if seen:
        system["health_score"] = sum(state.score for state in seen.values()) / len(seen)
        system["unhealthy_percent"] = 100 * sum(state.status is Status.UNHEALTHY for state in seen.values()) / len(seen)
    return {**of_services, SYSTEM: system}
