"""Sums up how the platform itself does, from what its parts recorded."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from recovery.config.fleet import Fleet
from recovery.models import CheckState, Lease, Pulse, Recovery, ServiceState
from recovery.watch.backlog import judge_leases, judge_recoveries, named
from recovery.watch.sight import AHEAD, Key, blindness, looks_of, overlooked, overlooked_checks, sight_limit
from recovery.watch.signs import PING, TICK, judge_canaries, judge_ping, judge_tick, judge_workers, last_pause
from recovery.watch.words import Part, PartStatus, PlatformHealth, PlatformStatus


def diagnose(
    pulses: Mapping[str, Pulse],
    leases: Sequence[Lease],
    open_recoveries: Sequence[Recovery],
    states: Mapping[str, ServiceState],
    fleet: Fleet,
    now: datetime,
    queues: Iterable[str] = (),
    checks: Mapping[Key, CheckState] | None = None,
) -> PlatformHealth:
    """Judge every part of the platform and the whole.

    A listener that does not answer the ping is shown, and does not make the platform degraded: else the ping, sent only
    while all is well, would never be tried again.

    Args:
        pulses: the last sign of life of every part, by name.
        leases: every claim that was not given up.
        open_recoveries: all of them.
        states: what is known about every service, by name.
        fleet: the fleet in force.
        now: the time.
        queues: those through which canaries are sent.
        checks: the running verdicts, by service and check.
    """
    blind = blindness(states, fleet, now)
    parts = [
        judge_sight(states, fleet, now, checks or {}),
        judge_tick(pulses.get(TICK), now),
        *judge_workers(pulses, now),
        *judge_canaries(pulses, queues, now),
        judge_leases(leases, open_recoveries, now),
        judge_recoveries(open_recoveries, now),
    ]
    status = PlatformStatus.OK if all(part.status is PartStatus.OK for part in parts) else PlatformStatus.DEGRADED
    if fleet.platform.ping_url:
        parts.append(judge_ping(pulses.get(PING), fleet.platform.ping_every, now))
    missed = last_pause(pulses.get(TICK), now)
    return PlatformHealth(now, PlatformStatus.BLIND if blind else status, tuple(parts), blind, missed)


def judge_sight(states: Mapping[str, ServiceState], fleet: Fleet, now: datetime, checks: Mapping[Key, CheckState] | None = None) -> Part:
    """Say whether sweeps come."""
    limit = sight_limit(fleet)
    if limit is None:
        return Part("sight", PartStatus.OK, "no check is declared")
    looks = [at for at in looks_of(states, fleet) if at <= now + AHEAD]
    age = max(0.0, (now - max(looks)).total_seconds()) if looks else None
    blind = blindness(states, fleet, now)
    if blind is not None:
        return Part("sight", PartStatus.UNKNOWN if age is None else PartStatus.LOST, blind, age, limit)
    services = overlooked(states, fleet, now)
    missed = services or overlooked_checks(checks or {}, fleet, now)
    if not missed:
        return Part("sight", PartStatus.OK, "services are looked at", age, limit)
    longest = max(missed.values())
    what = "services" if services else "checks"
    total = len(fleet.services) if services else sum(len(service.checks) for service in fleet.services.values())
    said = f"nobody looked at {len(missed)} of {total} {what} for up to {longest:.0f} s, others are looked at: {named(missed)}"
    return Part("sight", PartStatus.LATE, said, longest, limit)
