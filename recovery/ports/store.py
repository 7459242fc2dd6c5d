"""The store: each method is one transaction, an atomic verb. SQL and memory implement it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from recovery.models import (
    Attempt,
    CheckState,
    Decision,
    Event,
    Failure,
    JsonObject,
    Lease,
    Mitigation,
    Recovery,
    Sample,
    ServiceState,
    Step,
)


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
