"""Sweep one interval and shard of the fleet: probe, judge, store, and say which services need help."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from recovery.config.fleet import Fleet, ServiceDeclaration
from recovery.detect.probe import CONCURRENCY, Look, Target, look_at, meaning, run_round, share_of
from recovery.detect.verdict import judge, sick_checks, status_of
from recovery.models import Category, CheckState, Event, Failure, JsonObject, Sample, ServiceState, Status, utcnow
from recovery.ports import CheckKind, Clock, HealthStore, Heartbeats
from recovery.registry import Registry

MESSAGE_LIMIT = 2_000
"""Characters of a check's message that are kept."""

PRESSURE_EVENTS = {
    Category.MEMORY_PRESSURE: "health:high_memory",
    Category.CPU_PRESSURE: "health:high_cpu",
    Category.DISK_PRESSURE: "health:high_disk",
    Category.SLOW_RESPONSES: "health:slow_response",
    Category.HIGH_ERROR_RATE: "health:high_errors",
}

SICK = frozenset({Status.UNHEALTHY, Status.DEGRADED})


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep saw."""

    claimed: bool = True
    """False: another worker began this sweep less than half an interval ago; nothing was probed."""
    samples: tuple[Sample, ...] = ()
    states: tuple[ServiceState, ...] = ()
    """Every service that was looked at."""
    changed: tuple[ServiceState, ...] = ()
    """Those whose status changed, or that were seen for the first time."""
    unhealthy: tuple[Failure, ...] = ()
    """To report: one per service with an unhealthy check that failed in this very sweep and that nobody is busy with."""
    healthy: frozenset[str] = frozenset()
    """Services all of whose checks passed when last probed; their mitigations may go."""
    skipped: tuple[str, ...] = ()
    """Checks (`service.check`) that had not answered at the sweep's deadline; they get neither a sample nor a verdict."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One service after a sweep."""

    declaration: ServiceDeclaration
    before: ServiceState | None
    after: ServiceState
    samples: Mapping[str, Sample]
    old: Mapping[str, CheckState]
    new: Mapping[str, CheckState]

    @property
    def is_new(self) -> bool:
        """Say whether no sweep ever looked; a remedy may have noted a start already."""
        return self.before is None or self.before.seen_at is None

    @property
    def changed(self) -> bool:
        return self.before is None or self.is_new or self.before.status is not self.after.status


class Sweeper:
    """Run sweeps; one at a time per interval and shard over all workers.

    Args:
        store: keeps samples, verdicts and service states.
        kinds: the known kinds of checks.
        heartbeats: the last signs of life.
        clock: the time.
        busy: returns, by service, until when failures of it are not to be reported: None while a recovery is open,
            else a moment; a failure seen before that moment is not reported. Asked after the probes.
        concurrency: probes in flight at once.
    """

    def __init__(
        self,
        store: HealthStore,
        kinds: Registry[CheckKind],
        heartbeats: Heartbeats,
        clock: Clock = utcnow,
        busy: Callable[[], Mapping[str, datetime | None]] = dict,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._store = store
        self._kinds = kinds
        self._heartbeats = heartbeats
        self._clock = clock
        self._busy = busy
        self._concurrency = concurrency

    def run(self, fleet: Fleet, interval: float, shard: int = 0, shards: int = 1) -> Swept:
        """Probe every check with this `interval` of the services in this `shard` and return what to do about it.

        Blocks until the last probe answered, at most for the interval (or the longest timeout, if that is longer).
        Samples, verdicts, states and events are stored in one transaction before this returns, so a result that gets
        lost costs only time: the next sweep reports the same failures again. Raises `StoreUnavailable`.
        """
        if not self._store.claim_sweep(f"{interval:g}:{shard}", self._clock(), interval):
            return Swept(claimed=False)
        targets = targets_of(fleet, interval, shard, shards)
        looks = self._look(targets, interval)
        # Verdicts are read after the probes: a remedy may have cleared them in the meantime.
        judged = self._judge(fleet, targets, looks)
        samples = tuple(sample for one in judged for sample in one.samples.values())
        self._store.record_sweep(
            samples,
            [one.new[name] for one in judged for name in one.samples],
            [one.after for one in judged],
            [event for one in judged for event in _events(one)],
        )
        busy = self._busy()
        return Swept(
            samples=samples,
            states=tuple(one.after for one in judged),
            changed=tuple(one.after for one in judged if one.changed),
            unhealthy=tuple(failure for one in judged if (failure := _failure(one, busy))),
            healthy=frozenset(one.after.service for one in judged if _all_pass(one)),
            skipped=tuple(target.name for target in targets if target.name not in looks),
        )

    def _look(self, targets: Sequence[Target], interval: float) -> dict[str, Look]:
        longest = max((target.check.timeout for target in targets), default=0.0)
        return run_round(
            look_at(
                self._kinds,
                targets,
                self._heartbeats,
                concurrency=self._concurrency,
                deadline=max(interval, longest),
                offset=offset_of,
                clock=self._clock,
            )
        )

    def _judge(self, fleet: Fleet, targets: Sequence[Target], looks: Mapping[str, Look]) -> list[_Judged]:
        services = {target.service.name: target.service for target in targets}
        states = self._store.check_states(services)
        known = self._store.service_states()
        now = self._clock()
        samples: dict[str, list[Sample]] = {name: [] for name in services}
        for target in targets:
            look = looks.get(target.name)
            if look and not _outdated(look, known.get(target.service.name)):
                samples[target.service.name].append(self._sample(target, look))
        return [
            _judge_service(
                service,
                known.get(name),
                {check: state for (owner, check), state in states.items() if owner == name},
                samples[name],
                now,
                fleet.platform.stable_after,
            )
            for name, service in services.items()
        ]

    def _sample(self, target: Target, look: Look) -> Sample:
        finding = look.finding
        return Sample(
            service=target.service.name,
            check=target.check.name,
            at=look.at,
            ok=finding.ok,
            latency=look.latency,
            message=finding.message[:MESSAGE_LIMIT],
            category=meaning(self._kinds, target.check, finding),
            type=finding.type,
            details=finding.details,
        )


def targets_of(fleet: Fleet, interval: float, shard: int, shards: int) -> list[Target]:
    """Return the checks with this interval of the services in this shard (CRC-32 of the name modulo `shards`)."""
    return [
        Target(service, check)
        for service in fleet.services.values()
        if zlib.crc32(service.name.encode()) % shards == shard
        for check in service.checks
        if check.interval == interval
    ]


def offset_of(target: Target) -> float:
    """Return the seconds into the sweep at which a check starts: its share of `jitter`, early enough to finish within the interval."""
    check = target.check
    return share_of(target.name) * min(check.jitter, max(0.0, check.interval - check.timeout))


def _outdated(look: Look, state: ServiceState | None) -> bool:
    """A probe that began before the service was last started saw the instance that is gone."""
    return state is not None and state.started_at is not None and look.at < state.started_at


def _judge_service(
    service: ServiceDeclaration,
    before: ServiceState | None,
    old: Mapping[str, CheckState],
    samples: Sequence[Sample],
    now: datetime,
    stable_after: float,
) -> _Judged:
    first_seen = min((sample.at for sample in samples), default=now)
    known = before if before and before.started_at else replace(before or ServiceState(service.name), started_at=first_seen)
    new = dict(old)
    for sample in samples:
        check = service.check(sample.check)
        assert check is not None
        new[check.name] = judge(check, old.get(check.name, CheckState(service.name, check.name)), sample, known.started_at)
    after = status_of(service, new, known, now, stable_after)
    return _Judged(service, before, after, {sample.check: sample for sample in samples}, old, new)


def _all_pass(one: _Judged) -> bool:
    states = [one.new.get(check.name) for check in one.declaration.checks]
    return all(state is not None and state.status is Status.HEALTHY and not state.failures for state in states)


def _failing_now(one: _Judged) -> list[CheckState]:
    """Unhealthy checks with evidence from this sweep; an older verdict may have been mended since."""
    return [state for state in sick_checks(one.declaration, one.new) if state.check in one.samples and state.failures]


def _failure(one: _Judged, busy: Mapping[str, datetime | None]) -> Failure | None:
    service = one.declaration
    failing = _failing_now(one)
    if not failing:
        return None
    telling = failing[0]
    seen_at = one.samples[telling.check].at
    if service.name in busy and ((until := busy[service.name]) is None or seen_at < until):
        return None
    severities = [check.severity for check in service.checks if any(state.check == check.name for state in failing)]
    checks: JsonObject = {state.check: state.message for state in failing}
    return Failure(
        service=service.name,
        category=telling.category,
        type=telling.type,
        severity=min(severities, key=lambda severity: severity.rank),
        message=f"{telling.check}: {telling.message}",
        source="health",
        occurred_at=telling.first_failure_at or seen_at,
        details={
            **telling.details,
            "check": telling.check,
            "message": telling.message,
            "failures": telling.failures,
            "seen_at": seen_at.isoformat(),
            "checks": checks,
        },
        labels=service.labels,
    )


def _events(one: _Judged) -> list[Event]:
    name, after = one.declaration.name, one.after
    events = [
        Event(event, state.at or after.seen_at or utcnow(), name, data={"check": state.check, "message": state.message})
        for state in one.new.values()
        if (event := PRESSURE_EVENTS.get(state.category)) and _fell(one, state)
    ]
    at = after.seen_at or utcnow()
    before = one.before.status if one.before else Status.UNKNOWN
    data: JsonObject = {"status": str(after.status), "before": str(before), "score": after.score, "message": after.message}
    if one.is_new:
        events.append(Event("service:registered", at, name, data=data))
    if one.changed and after.status in SICK:
        events.append(Event("service:degraded", at, name, data=data))
    if one.changed and after.status is Status.HEALTHY and before in SICK:
        since = one.before.since if one.before else None
        events.append(Event("service:recovered", at, name, data={**data, "seconds": (at - since).total_seconds() if since else None}))
    return events


def _fell(one: _Judged, state: CheckState) -> bool:
    old = one.old.get(state.check)
    return state.status is Status.UNHEALTHY and state.check in one.samples and (old is None or old.status is not Status.UNHEALTHY)
