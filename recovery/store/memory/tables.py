"""The dictionaries of the in-memory store and the lock in front of them."""

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from recovery.models import (
    Approval,
    Attempt,
    Basis,
    BreakerChange,
    CheckState,
    Decision,
    Degradation,
    Event,
    Failure,
    JsonObject,
    Lease,
    Mitigation,
    Pulse,
    Recovery,
    RuleStanding,
    Sample,
    ServiceState,
    Silence,
    Step,
)
from recovery.store.rules import lease_lost


@dataclass(slots=True)
class Noted:
    """One row of the decision ledger."""

    decision: Decision
    repeats: int = 0
    """How often it was made again right after."""
    last_at: datetime | None = None

    def count(self, repeat: Decision) -> None:
        """Count `repeat` up instead of storing it."""
        self.repeats += 1
        self.last_at = repeat.at
        self.decision = replace(self.decision, until=repeat.until)


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One row of the audit trail."""

    action: str
    actor: str
    detail: JsonObject
    at: datetime


@dataclass(frozen=True, slots=True)
class Term:
    """One holder's hold on a job of the whole platform; without a holder, it was given up."""

    holder: str | None
    fence: int
    until: datetime


@dataclass(slots=True)
class Tables:
    """Everything that the store knows; change it only under `lock`."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    leases: dict[str, Lease] = field(default_factory=dict)
    released: set[tuple[str, int]] = field(default_factory=set)
    lengths: dict[str, timedelta] = field(default_factory=dict)
    """How long each service's claim was asked for."""
    leaders: dict[str, Term] = field(default_factory=dict)
    recoveries: dict[str, Recovery] = field(default_factory=dict)
    touched: dict[str, datetime] = field(default_factory=dict)
    """When each recovery was last changed, by the clock of who changed it."""
    failures: dict[str, tuple[str, Failure]] = field(default_factory=dict)
    attempts: dict[tuple[str, int], Attempt] = field(default_factory=dict)
    steps: dict[tuple[str, int, int], Step] = field(default_factory=dict)
    mitigations: dict[tuple[str, str], Mitigation] = field(default_factory=dict)
    decisions: list[Noted] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    checks: dict[tuple[str, str], CheckState] = field(default_factory=dict)
    services: dict[str, ServiceState] = field(default_factory=dict)
    sweeps: dict[str, datetime] = field(default_factory=dict)
    silences: dict[str, Silence] = field(default_factory=dict)
    approvals: dict[str, Approval] = field(default_factory=dict)
    bases: list[Basis] = field(default_factory=list)
    breaker_changes: list[BreakerChange] = field(default_factory=list)
    rules: dict[str, RuleStanding] = field(default_factory=dict)
    degraded: dict[tuple[str, str], Degradation] = field(default_factory=dict)
    pulses: dict[str, Pulse] = field(default_factory=dict)
    audits: list[AuditRow] = field(default_factory=list)

    def newest(self, lease: Lease) -> bool:
        """Say whether `lease` is the last one given for its service and was not given back."""
        current = self.leases.get(lease.service)
        return current is not None and current.fence == lease.fence and (lease.service, lease.fence) not in self.released

    def require(self, lease: Lease) -> None:
        """Raise `LeaseLost` unless `lease` is the newest of its service."""
        if not self.newest(lease):
            raise lease_lost(lease)


class Room:
    """One port of the store, working on the tables that all of them share."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
