"""Rows for tests of the stores: each maker fills in what the test does not care about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from recovery.models import (
    Action,
    Attempt,
    AttemptState,
    Category,
    Choice,
    Decision,
    Event,
    Failure,
    Kind,
    Lease,
    Plan,
    PlannedAttempt,
    Recovery,
    RecoveryState,
    Severity,
    Step,
    StepState,
    fingerprint_of,
    new_id,
)
from recovery.ports import LeaseStore

T0 = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """Return the moment `seconds` after the start of every test's story."""
    return T0 + timedelta(seconds=seconds)


def recovery(service: str = "shop", **fields: Any) -> Recovery:
    category = fields.pop("category", Category.SERVICE_UNAVAILABLE)
    created = fields.pop("created_at", T0)
    values: dict[str, Any] = {
        "id": new_id(),
        "service": service,
        "fingerprint": fingerprint_of(service, category),
        "category": category,
        "severity": Severity.HIGH,
        "kind": Kind.AUTOMATIC,
        "state": RecoveryState.PENDING,
        "plan": Plan(attempts=(PlannedAttempt(strategy="restart", queue="restart", why="first choice"),)),
        "created_at": created,
        "first_evidence_at": created,
        "due_at": created,
        "last_failure_at": created,
    }
    return Recovery(**values | fields)


def failure(service: str = "shop", **fields: Any) -> Failure:
    values: dict[str, Any] = {"service": service, "category": Category.SERVICE_UNAVAILABLE, "occurred_at": T0, "message": "does not answer"}
    return Failure(**values | fields)


def attempt(of: Recovery, number: int = 1, **fields: Any) -> Attempt:
    values: dict[str, Any] = {
        "recovery_id": of.id,
        "number": number,
        "service": of.service,
        "strategy": "restart",
        "queue": "restart",
        "action": Action.APPLY,
        "state": AttemptState.QUEUED,
        "created_at": of.created_at,
    }
    return Attempt(**values | fields)


def step(of: Recovery, position: int = 0, number: int = 1, fence: int = 1, **fields: Any) -> Step:
    values: dict[str, Any] = {"name": f"step-{position}", "state": StepState.STARTED, "started_at": T0}
    return Step(recovery_id=of.id, attempt=number, position=position, fence=fence, **values | fields)


def decision(service: str = "shop", **fields: Any) -> Decision:
    values: dict[str, Any] = {"choice": Choice.DELAY, "guard": "cooldown", "reason": "cooldown for 12.5 s", "at": T0}
    return Decision(service=service, **values | fields)


def event(name: str = "recovery:started", **fields: Any) -> Event:
    values: dict[str, Any] = {"at": T0, "service": "shop"}
    return Event(name, **values | fields)


def lease_for(store: LeaseStore, of: Recovery, holder: str = "worker-1", now: float = 0.0, until: float = 10.0) -> Lease:
    """Take the lease on the recovery's service, which nobody else may have."""
    lease = store.acquire_lease(of.service, of.id, holder, at(now), at(until))
    assert lease is not None
    return lease
