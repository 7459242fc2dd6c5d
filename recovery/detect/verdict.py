"""Turn samples into verdicts: `judge` counts for one check, `status_of` sums up a service. Pure functions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.models import Category, CheckState, Sample, ServiceState, Severity, Status

SPECIFIC_FIRST = (
    Category.CACHE_CORRUPTION,
    Category.DATA_INCONSISTENCY,
    Category.CIRCUIT_OPEN,
    Category.QUEUE_BACKLOG,
    Category.DISK_PRESSURE,
    Category.MEMORY_PRESSURE,
    Category.CPU_PRESSURE,
    Category.DATABASE,
    Category.CACHE,
    Category.SERVICE_UNAVAILABLE,
    Category.RATE_LIMITED,
    Category.NETWORK,
    Category.HIGH_ERROR_RATE,
    Category.SLOW_RESPONSES,
    Category.UNKNOWN,
)
"""Causes before symptoms: a shop with a corrupt data file also answers 500, and restarting it would not help."""

SKEW = timedelta(seconds=5)
"""By how much the clocks of two hosts may differ; a moment further ahead than that was written before the clock was set back."""
LATE = 2
"""Intervals (and a timeout) after which a sample cannot be just late."""

MILD = frozenset({Severity.MEDIUM, Severity.LOW})


def judge(check: CheckDeclaration, state: CheckState, sample: Sample, started_at: datetime | None) -> CheckState:
    """Return the verdict on one check after one more sample.

    `fall` failures in a row make it unhealthy, `rise` successes in a row heal it again; the first success of a check
    that was never unhealthy makes it healthy at once. A sample older than the verdict changes nothing, unless it is older than
    a sweep can be late: then the clock was set back.

    Args:
        check: holds `fall`, `rise` and `start_grace`.
        state: the verdict so far; `CheckState(service, check)` for the first sample.
        sample: what was seen.
        started_at: failures before this plus `start_grace` are noted but do not count; None: no grace.
    """
    if state.at is not None and timedelta(0) < state.at - sample.at <= timedelta(seconds=LATE * check.interval + check.timeout):
        return state
    seen = replace(
        state,
        at=sample.at,
        message=sample.message,
        category=sample.category,
        type=sample.type,
        latency=sample.latency,
        details=sample.details,
    )
    if sample.ok:
        return _after_success(check, seen)
    if started_at is not None and started_at - SKEW <= sample.at < started_at + timedelta(seconds=check.start_grace):
        return replace(seen, successes=0)
    return _after_failure(check, seen)


def _after_success(check: CheckDeclaration, state: CheckState) -> CheckState:
    successes = state.successes + 1
    if state.status is Status.UNHEALTHY and successes < check.rise:
        return replace(state, successes=successes, failures=0)  # first_failure_at stays: the outage is not over yet
    return replace(state, status=Status.HEALTHY, successes=successes, failures=0, first_failure_at=None)


def _after_failure(check: CheckDeclaration, state: CheckState) -> CheckState:
    failures = state.failures + 1
    return replace(
        state,
        status=Status.UNHEALTHY if failures >= check.fall else state.status,
        failures=failures,
        successes=0,
        first_failure_at=state.first_failure_at or state.at,
    )


def status_of(
    service: ServiceDeclaration,
    states: Mapping[str, CheckState],
    before: ServiceState | None = None,
    now: datetime | None = None,
    stable_after: float = 300.0,
) -> ServiceState:
    """Return how a service is, from the verdicts on all its checks.

    `unhealthy`: a check of severity critical or high is unhealthy. `degraded`: only checks of severity medium or low
    are. `healthy`: every check is. While some check has no verdict yet and none is unhealthy, the status before
    stands (`unknown` at first). The score is `floor(100 * p / n)` with n = checks with a verdict and p = those of them
    that are not unhealthy; 100 when n is 0.

    Args:
        service: its declared checks; verdicts on other checks are ignored.
        states: the verdicts by check name.
        before: what was known until now; its `started_at` and `stable_since` are kept.
        now: the time of this look; None leaves the times as they were.
        stable_after: seconds of health after which earlier attempts no longer count against the attempt cap.
    """
    before = before or ServiceState(service.name, started_at=now)
    verdicts = {check.name: states.get(check.name, CheckState(service.name, check.name)) for check in service.checks}
    known = [state for state in verdicts.values() if state.status is not Status.UNKNOWN]
    sick = sick_checks(service, verdicts)
    status = _status(service, len(known), sick, before.status)
    since = before.since if status is before.status and before.since else now
    return replace(
        before,
        status=status,
        score=100 * (len(known) - len(sick)) // len(known) if known else 100,
        since=since,
        seen_at=now or before.seen_at,
        stable_since=_stable_since(before, status, since, now, stable_after),
        message=f"{sick[0].check}: {sick[0].message}" if sick else "",
    )


def _status(service: ServiceDeclaration, known: int, sick: list[CheckState], before: Status) -> Status:
    if sick:
        severities = {check.severity for check in service.checks if any(state.check == check.name for state in sick)}
        return Status.DEGRADED if severities <= MILD else Status.UNHEALTHY
    return Status.HEALTHY if known and known == len(service.checks) else before


def _stable_since(before: ServiceState, status: Status, since: datetime | None, now: datetime | None, after: float) -> datetime | None:
    """A restart that no check noticed (a client reported the failure) begins the count anew as well."""
    if status is not Status.HEALTHY or since is None or now is None:
        return before.stable_since
    quiet_since = max(since, before.started_at or since)
    return now if (now - quiet_since).total_seconds() >= after else before.stable_since


def sick_checks(service: ServiceDeclaration, states: Mapping[str, CheckState]) -> list[CheckState]:
    """Return the unhealthy checks of a service, the most telling first: specific category, severity, first to fail, name."""
    severity = {check.name: check.severity.rank for check in service.checks}
    sick = [state for name, state in states.items() if name in severity and state.status is Status.UNHEALTHY]
    return sorted(
        sick,
        key=lambda state: (
            SPECIFIC_FIRST.index(state.category),
            severity[state.check],
            state.first_failure_at.timestamp() if state.first_failure_at else 0.0,
            state.check,
        ),
    )
