"""Sum up what a sweep saw of one service: its new verdicts, the failure to report, the events, whether all is well."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from recovery.config.fleet import PlatformDeclaration, ServiceDeclaration
from recovery.detect.flapping import change_rate, is_flapping, remember
from recovery.detect.verdict import judge, sick_checks, status_of
from recovery.models import Category, CheckState, Event, Failure, JsonObject, Sample, ServiceState, Status, fingerprint_of

PRESSURE_EVENTS = {
    Category.MEMORY_PRESSURE: "health:high_memory",
    Category.CPU_PRESSURE: "health:high_cpu",
    Category.DISK_PRESSURE: "health:high_disk",
    Category.SLOW_RESPONSES: "health:slow_response",
    Category.HIGH_ERROR_RATE: "health:high_errors",
}

SICK = frozenset({Status.UNHEALTHY, Status.DEGRADED})


@dataclass(frozen=True, slots=True)
class Judged:
    """One service after a sweep. The mappings go by the name of the check."""

    declaration: ServiceDeclaration
    at: datetime
    before: ServiceState | None
    after: ServiceState
    samples: Mapping[str, Sample]
    """Of this sweep."""
    old: Mapping[str, CheckState]
    new: Mapping[str, CheckState]

    @property
    def is_new(self) -> bool:
        """Say whether no sweep ever looked; a remedy may have noted a start already."""
        return self.before is None or self.before.seen_at is None

    @property
    def changed(self) -> bool:
        """Say whether its status is another one than before, or the first one."""
        return self.before is None or self.is_new or self.before.status is not self.after.status


def judge_service(
    service: ServiceDeclaration,
    before: ServiceState | None,
    old: Mapping[str, CheckState],
    samples: Sequence[Sample],
    now: datetime,
    platform: PlatformDeclaration,
) -> Judged:
    """Return `service` with new verdicts and status.

    Args:
        service: as declared.
        before: its state until now, None if it was never seen; `start_grace` then counts from the first sample.
        old: the verdicts until now.
        samples: what this sweep saw.
        now: the time.
        platform: holds `stable_after` and when a service flaps.
    """
    first_seen = min((sample.at for sample in samples), default=now)
    known = before if before and before.started_at else replace(before or ServiceState(service.name), started_at=first_seen)
    new = dict(old)
    for sample in samples:
        check = service.check(sample.check)
        assert check is not None
        new[check.name] = judge(check, old.get(check.name, CheckState(service.name, check.name)), sample, known.started_at)
    after = status_of(service, new, known, now, platform.stable_after)
    if samples:
        after = _with_flapping(after, ok=not any(state.failures for state in new.values()), platform=platform)
    return Judged(service, now, before, after, {sample.check: sample for sample in samples}, old, new)


def _with_flapping(state: ServiceState, *, ok: bool, platform: PlatformDeclaration) -> ServiceState:
    recent = remember(state.recent, ok=ok)
    rate = change_rate(recent)
    flapping = is_flapping(rate, before=state.flapping, high=platform.flap_high, low=platform.flap_low)
    return replace(state, recent=recent, change_rate=rate, flapping=flapping)


def all_pass(one: Judged) -> bool:
    """Say whether every declared check is healthy and passed when it was last probed."""
    states = [one.new.get(check.name) for check in one.declaration.checks]
    return all(state is not None and state.status is Status.HEALTHY and not state.failures for state in states)


def _failing_now(one: Judged) -> list[CheckState]:
    """Unhealthy checks with evidence from this sweep; an older verdict may have been mended since."""
    return [state for state in sick_checks(one.declaration, one.new) if state.check in one.samples and state.failures]


def _is_busy(names: Sequence[str], seen_at: datetime, busy: Mapping[str, datetime | None]) -> bool:
    ends = [busy[name] for name in names if name in busy]
    return any(until is None or seen_at < until for until in ends)


def failure_of(one: Judged, busy: Sequence[Mapping[str, datetime | None]]) -> Failure | None:
    """Return the failure to report, if a check is unhealthy and failed in this very sweep.

    The most telling of these checks gives category, type, time and details; the severity is the worst of them.

    Args:
        one: the service.
        busy: mappings from services or fingerprints to the moment until which evidence of them does not count; None: always.
    """
    service = one.declaration
    failing = _failing_now(one)
    if not failing:
        return None
    telling = failing[0]
    seen_at = one.samples[telling.check].at
    names = (service.name, fingerprint_of(service.name, telling.category))
    if any(_is_busy(names, seen_at, then) for then in busy):
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


def events_of(one: Judged) -> list[Event]:
    """Return what happened: checks that fell to some pressure; the service seen first, degraded, recovered, flapping or settled."""
    name, after = one.declaration.name, one.after
    events = [
        Event(event, one.at, name, data={"check": state.check, "message": state.message})
        for state in one.new.values()
        if (event := PRESSURE_EVENTS.get(state.category)) and _fell(one, state)
    ]
    before = one.before.status if one.before else Status.UNKNOWN
    data: JsonObject = {"status": str(after.status), "before": str(before), "score": after.score, "message": after.message}
    if one.is_new:
        events.append(Event("service:registered", one.at, name, data=data))
    if one.changed and after.status in SICK:
        events.append(Event("service:degraded", one.at, name, data=data))
    if one.changed and after.status is Status.HEALTHY and before in SICK:
        since = one.before.since if one.before else None
        seconds = (one.at - since).total_seconds() if since else None
        events.append(Event("service:recovered", one.at, name, data={**data, "seconds": seconds}))
    if after.flapping != bool(one.before and one.before.flapping):
        rate: JsonObject = {"change_rate": after.change_rate}
        events.append(Event("service:flapping" if after.flapping else "service:settled", one.at, name, data=rate))
    return events


def _fell(one: Judged, state: CheckState) -> bool:
    old = one.old.get(state.check)
    return state.status is Status.UNHEALTHY and state.check in one.samples and (old is None or old.status is not Status.UNHEALTHY)
