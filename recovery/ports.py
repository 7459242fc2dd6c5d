"""What the domain asks of the outside: checks, drivers, strategies, the store, cooldown locks and the clock, each as a Protocol."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeVar

from pydantic import BaseModel

from recovery.config.fleet import CheckDeclaration, ServiceDeclaration
from recovery.models import (
    Action,
    Attempt,
    BreakerView,
    Category,
    CheckState,
    Decision,
    Degradation,
    Endpoint,
    Event,
    Failure,
    FailureType,
    JsonObject,
    Lease,
    Mitigation,
    Outcome,
    Recovery,
    Sample,
    ServiceState,
    Step,
)

Clock = Callable[[], datetime]
"""Returns the current time, aware, in UTC. Tests hand in their own."""

Options = TypeVar("Options", bound=BaseModel)


# --- detection ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe saw."""

    ok: bool
    message: str = ""
    category: Category | None = None
    """What it means; None: the declaration's or the kind's category."""
    type: FailureType = FailureType.HEALTH_CHECK
    details: JsonObject = field(default_factory=dict)


class Check(Protocol):
    """One way to see whether a service is well."""

    async def probe(self) -> Finding:
        """Look once. May raise: an exception or a timeout is a failed probe with the exception's text."""
        ...


@dataclass(frozen=True, slots=True)
class CheckKind:
    """A kind of check: its name in `recovery.toml`, its options and how to build one."""

    name: str
    options: type[BaseModel]
    """Validates the keys beyond the common ones."""
    build: Callable[[ServiceDeclaration, CheckDeclaration, "Heartbeats"], Check]
    category: Category = Category.SERVICE_UNAVAILABLE
    """What a failure means unless the declaration says otherwise."""
    interval: float = 60.0
    """Default seconds between probes."""


class Heartbeats(Protocol):
    """The last signs of life that services gave."""

    def last(self, service: str) -> datetime | None:
        """Return when `service` last reported in, or None if it never did."""
        ...


# --- remedies -------------------------------------------------------------------------------------------------------


class Driver(Protocol):
    """How a remedy reaches one real thing. Blocking; every call may raise `DriverError`.

    `identity` names the running instance (such as pid and start time), so that a successor can tell after a crash
    whether a stop or start took effect: another identity is another instance.
    """

    def identity(self) -> JsonObject | None:
        """Return what identifies the running instance, None when nothing runs."""
        ...

    def stop(self, timeout: float) -> JsonObject:
        """Stop gracefully, by force after `timeout` seconds; return when it is gone, with what was done."""
        ...

    def start(self) -> JsonObject:
        """Start it and return the identity of the new instance; raises if something runs already."""
        ...

    def reload(self) -> JsonObject:
        """Make the running instance read its configuration again."""
        ...


@dataclass(frozen=True, slots=True)
class DriverKind:
    """A kind of driver: its name in `recovery.toml`, its options and how to build one."""

    name: str
    options: type[BaseModel]
    build: Callable[[ServiceDeclaration], Driver]
    """From a service whose `driver.options` were validated."""
    usable: Callable[[], str | None] = lambda: None
    """Return why it cannot be used on this machine, None when it can."""


@dataclass(frozen=True, slots=True)
class AttemptContext:
    """All that a strategy may know and do during one attempt."""

    service: ServiceDeclaration
    recovery: Recovery
    attempt: int
    fence: int
    """Hand it to whatever can refuse an older one."""
    failure: Failure | None
    """The latest report, with its details."""
    results: Mapping[str, JsonObject]
    """Results of the finished steps, by name."""
    guard: Callable[[], None]
    """Call right before a side effect: raises `LeaseLost` if somebody else has the service now."""
    clock: Clock


@dataclass(frozen=True, slots=True)
class StepWork:
    """One step of a strategy: at most one side effect, journaled before and after.

    `prepare` only looks; what it returns is journaled as the intent before `run` is called. After a crash between the
    two journal rows `reconcile` is asked whether the effect is there: a result means yes, None means no, run it.
    """

    name: str
    run: Callable[[JsonObject], JsonObject]
    """Takes the intent, returns the result; raises `StepFailed` or `DriverError`."""
    prepare: Callable[[], JsonObject] = dict
    reconcile: Callable[[JsonObject], JsonObject | None] = lambda _intent: None
    """The default is right only for steps that may be repeated."""
    timeout: float = 60.0
    """Seconds."""
    optional: bool = False
    """True: its failure does not fail the attempt."""


class Strategy(Protocol):
    """A remedy. Belongs to one queue; says which failures it can handle; is made of steps."""

    name: str
    queue: str
    priority: int
    """Larger runs first where no plan says otherwise."""
    typical_seconds: float
    """Estimate used until a service has a history."""
    options: type[BaseModel]
    """Validates `[services.X.remedies.<name>]`."""
    lapses: bool
    """Whether what it leaves in place ends by itself after `mitigates_for` seconds; otherwise it stays until it is reverted."""

    def refuses(self, service: ServiceDeclaration, category: Category) -> str | None:
        """Return why it cannot help this service with this category of failure, None when it can."""
        ...

    def steps(self, context: AttemptContext, action: Action) -> Sequence[StepWork]:
        """Return the steps that put the remedy in place (or take it away again, for `REVERT`), in order."""
        ...

    def verify_with(self, service: ServiceDeclaration, action: Action) -> tuple[str, ...] | None:
        """Return the checks (`service.check`) that must pass afterwards; None: all of the service's own."""
        ...

    def mitigates_for(self, service: ServiceDeclaration) -> float | None:
        """Return the seconds this remedy holds if it only mitigates, None if success means resolved."""
        ...


class Probe(Protocol):
    """Runs declared checks on the spot, outside their schedule."""

    def __call__(self, checks: Sequence[str]) -> Mapping[str, Finding]:
        """Probe each `service.check` once, concurrently, and return the findings by that name."""
        ...


class Degradations(Protocol):
    """Degradations in force, where services can read them. Every method may raise `StoreUnavailable`."""

    def current(self, service: str) -> Degradation | None:
        """Return what `service` does without now, None when it is normal."""
        ...

    def all(self) -> list[Degradation]:
        """Return every degradation in force."""
        ...

    def put(self, degradation: Degradation) -> bool:
        """Put it in force until its `until` and tell the services; False if one with a higher fence is in force."""
        ...

    def clear(self, service: str, fence: int) -> bool:
        """End it and tell the services; False if there is none, or one with a higher fence."""
        ...


class Endpoints(Protocol):
    """Where callers are sent while a primary is out. Every method may raise `StoreUnavailable`."""

    def current(self, service: str) -> Endpoint | None:
        """Return the backup in use, None for the primary."""
        ...

    def switch(self, endpoint: Endpoint) -> bool:
        """Send callers to a backup; False if a switch with a higher fence is in force."""
        ...

    def clear(self, service: str, fence: int) -> bool:
        """Send callers to the primary again; False if they are there, or a higher fence is in force."""
        ...


class Breakers(Protocol):
    """Circuit breakers that the fleet shares. Every method may raise `StoreUnavailable`."""

    def view(self, name: str) -> BreakerView | None:
        """Return one breaker as it stands, None if nobody ever used it."""
        ...

    def views(self) -> list[BreakerView]:
        """Return every known breaker, by name."""
        ...

    def half_open(self, name: str) -> BreakerView:
        """Let probes through now; a closed breaker stays closed."""
        ...

    def record(self, name: str, *, ok: bool) -> BreakerView:
        """Count one probe: enough successes in half-open close it, a failure opens it again."""
        ...


# --- the store ------------------------------------------------------------------------------------------------------


class Intake(StrEnum):
    """What became of a report."""

    OPENED = "opened"
    MERGED = "merged"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Answer of the store to a new recovery."""

    intake: Intake
    recovery: Recovery
    """The one that was opened, or that the report was merged into."""


class LeaseStore(Protocol):
    """Claims on services, with fencing tokens."""

    def acquire_lease(self, service: str, recovery_id: str, holder: str, now: datetime, until: datetime) -> Lease | None:
        """Claim `service` if nobody's claim is alive at `now`; the fence rises by one. None: somebody holds it."""
        ...

    def renew_lease(self, lease: Lease, until: datetime) -> Lease:
        """Extend the claim; raises `LeaseLost` if its fence is not the newest."""
        ...

    def release_lease(self, lease: Lease) -> None:
        """Give the claim up; does nothing if it was lost already."""
        ...

    def holds(self, lease: Lease) -> bool:
        """Say whether the fence of `lease` is still the newest of its service."""
        ...

    def lease_of(self, service: str) -> Lease | None:
        """Return the newest claim on `service`, alive or expired; None if it was given up or never claimed."""
        ...


class RecoveryStore(Protocol):
    """Recoveries with their attempts, steps, decisions and events. Each method is one transaction."""

    def open_recovery(
        self, recovery: Recovery, failure: Failure | None, decisions: Sequence[Decision], events: Sequence[Event]
    ) -> Accepted:
        """Insert `recovery` with its rows, unless one is open for its service: then merge, unless `failure.id` is known: then do nothing.

        Also merged, when `failure` is given: into the newest closed recovery of the service with the same fingerprint whose
        `quiet_until` lies after `recovery.created_at` (guard `quiet_period`, `until` = its `quiet_until`). Without a failure an
        open recovery is returned as it is, as MERGED.

        Merging stores the failure, adds 1 to `failures`, sets `last_failure_at`, raises the severity if the new one is worse,
        moves `first_evidence_at` never, and records one MERGE decision per fingerprint and recovery (guard
        `one_open_recovery`). It does not touch `version`.
        """
        ...

    def recovery(self, recovery_id: str) -> Recovery | None:
        """Return one recovery, by full id or by a unique prefix of at least 6 characters."""
        ...

    def open_recovery_of(self, service: str) -> Recovery | None:
        """Return the open recovery of `service`, if any."""
        ...

    def open_recoveries(self) -> list[Recovery]:
        """Return all open recoveries, most severe and oldest first."""
        ...

    def due(self, now: datetime, limit: int) -> list[str]:
        """Return ids of open recoveries whose `due_at` has come, those that wait longest first, so that none is passed over for ever."""
        ...

    def latest_failure(self, recovery_id: str) -> Failure | None:
        """Return the newest failure that was merged into a recovery."""
        ...

    def transition(
        self,
        before: Recovery,
        after: Recovery,
        *,
        attempt: Attempt | None = None,
        decisions: Sequence[Decision] = (),
        events: Sequence[Event] = (),
        mitigation: Mitigation | None = None,
        ended: Mitigation | None = None,
    ) -> Recovery | None:
        """Replace `before` by `after` if the row still has `before.version`, with all the rows that belong to it.

        Returns the stored recovery (version + 1), or None when somebody else was faster and nothing was written. `failures`,
        `last_failure_at`, `severity` and `cancel_requested` are kept as they are in the row. `attempt` is inserted or
        replaced, and the first one ends the quiet of all earlier recoveries of its service; `mitigation` is put in place
        (replacing one of the same service and strategy), `ended` is removed. A decision that repeats the newest one of its
        service only counts up, as in `record`.
        """
        ...

    def request_cancel(self, recovery_id: str, reason: str, now: datetime) -> Recovery | None:
        """Mark an open recovery as to be cancelled and make it due; None if it is closed or unknown."""
        ...

    def attempts(self, recovery_id: str) -> list[Attempt]:
        """Return the attempts of a recovery, in order."""
        ...

    def attempts_of(self, service: str, since: datetime) -> list[Attempt]:
        """Return every attempt on `service` created at or after `since`, oldest first."""
        ...

    def steps(self, recovery_id: str, attempt: int | None = None) -> list[Step]:
        """Return the journal of a recovery (or of one attempt), in order."""
        ...

    def begin_attempt(self, lease: Lease, number: int, now: datetime) -> Attempt:
        """Mark the attempt as running under `lease`, runs + 1, and set the recovery's `due_at` to `lease.until`; raises `LeaseLost`."""
        ...

    def journal(self, lease: Lease, step: Step) -> None:
        """Insert or replace one step's row; raises `LeaseLost` if `lease` is not the newest."""
        ...

    def finish_attempt(self, lease: Lease, attempt: Attempt, events: Sequence[Event], now: datetime) -> None:
        """Store a finished attempt and make its recovery due now; raises `LeaseLost` if `lease` is not the newest."""
        ...

    def mitigations(self) -> list[Mitigation]:
        """Return the remedies that are in place."""
        ...

    def end_mitigation(self, mitigation: Mitigation, events: Sequence[Event]) -> bool:
        """Remove a mitigation that ended by itself; False if it is gone or was replaced by a newer one."""
        ...

    def busy(self, now: datetime) -> dict[str, datetime | None]:
        """Return what needs no new report: services with an open recovery (None), fingerprints quiet after `now` (until when)."""
        ...

    def record(self, decisions: Sequence[Decision] = (), events: Sequence[Event] = ()) -> None:
        """Store decisions and events that belong to no transition (a repeat of the newest decision of a service only counts up)."""
        ...

    def audit(self, action: str, actor: str, detail: JsonObject, at: datetime) -> None:
        """Append one row to the audit trail, such as a refused report."""
        ...


class HealthStore(Protocol):
    """Samples, running verdicts and service states."""

    def claim_sweep(self, key: str, now: datetime, interval: float) -> bool:
        """Claim one sweep; False if one with this key began less than half an `interval` ago."""
        ...

    def check_states(self, services: Collection[str]) -> dict[tuple[str, str], CheckState]:
        """Return the running verdicts of these services, by (service, check)."""
        ...

    def service_states(self) -> dict[str, ServiceState]:
        """Return what is known about every service, by name."""
        ...

    def record_sweep(
        self, samples: Sequence[Sample], checks: Sequence[CheckState], services: Sequence[ServiceState], events: Sequence[Event]
    ) -> None:
        """Store one sweep in one transaction; a check state older than the stored one is dropped."""
        ...

    def mark_started(self, service: str, at: datetime) -> None:
        """Note that a remedy (re)started or mended `service`: `start_grace` counts from `at`, running verdicts of its checks are cleared.

        Whatever was seen before `at` no longer counts: `record_sweep` drops check states whose `at` lies before it.
        """
        ...


class Store(LeaseStore, RecoveryStore, HealthStore, Protocol):
    """The whole of it, as one object."""


class Cooldowns(Protocol):
    """Locks that keep one strategy off one service for a while."""

    def acquire(self, service: str, strategy: str, holder: str, seconds: float) -> bool:
        """Take the lock for `seconds`; True also when `holder` has it already. Raises `StoreUnavailable`."""
        ...

    def remaining(self, service: str, strategies: Collection[str]) -> dict[str, float]:
        """Return the seconds left for each strategy that is locked. Raises `StoreUnavailable`."""
        ...

    def release(self, service: str, strategy: str, holder: str) -> None:
        """Free the lock if `holder` has it (the attempt never ran)."""
        ...


# --- what the coordinator answers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Execute:
    """Send the strategy task."""

    recovery_id: str
    service: str
    strategy: str
    queue: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`; the tick comes back."""

    recovery_id: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Done:
    """Closed."""

    recovery_id: str
    outcome: Outcome | None


Directive = Execute | Wait | Done
