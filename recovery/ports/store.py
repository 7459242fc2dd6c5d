"""The store: each method is one transaction, an atomic verb. SQL and memory implement it."""

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from recovery.models import (
    Answer,
    Approval,
    Attempt,
    Basis,
    BreakerChange,
    CheckState,
    Decision,
    Event,
    Failure,
    JsonObject,
    Lease,
    Load,
    Mitigation,
    Quota,
    Recovery,
    Sample,
    ServiceState,
    Step,
)
from recovery.ports.intake import Accepted, Refusal, Report
from recovery.ports.policy import Leadership, PolicyStore
from recovery.ports.rules import RuleStore


class LeaseStore(Protocol):
    """Claims on services, with fencing tokens."""

    def acquire_lease(self, service: str, recovery_id: str, holder: str, now: datetime, until: datetime) -> Lease | None:
        """Claim `service` if nobody's claim is alive at `now`; the fence rises by one. None: somebody holds it.

        A claim that seems to last for more than three times its length is over: a clock that was set back since wrote it.
        """
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
        open recovery is returned as it is, as MERGED; one that is closed from the beginning, such as a dry run, is always inserted.

        Merging stores the failure, adds 1 to `failures`, sets `last_failure_at`, raises the severity if the new one is worse,
        moves `first_evidence_at` never, and records one MERGE decision per fingerprint and recovery (guard
        `one_open_recovery`). It does not touch `version`.
        """
        ...

    def take_in(self, reports: Sequence[Report]) -> list[Accepted]:
        """Take a batch in, in one transaction: the same as `open_recovery` for each report in turn, without decisions of its own.

        Nothing is written if it raises. What comes back is in the order of `reports`, each with its recovery as the whole
        batch left it.
        """
        ...

    def quiet_ending(self, now: datetime, until: datetime, limit: int) -> list[Recovery]:
        """Return automatic recoveries that were closed before any attempt and end being quiet after `now` and by `until`.

        Suppressed and failed ones only; the first to end first, at most `limit`.
        """
        ...

    def prolong(self, left: Recovery, until: datetime, decisions: Sequence[Decision]) -> bool:
        """Let the quiet of a closed recovery end at `until`, and count up the decisions that it rests on; nothing else of it changes.

        False, and nothing written, if its quiet has another end by now than in `left`.
        """
        ...

    def together(self) -> AbstractContextManager[object]:
        """Read within the block what belongs together: what this thread asks there costs one transaction, not one each.

        On SQLite, and in memory, it is as of one moment. What is written within the block need not be seen there.
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
        """Return ids of open recoveries whose `due_at` has come, those that wait longest first, so that none is passed over for ever.

        Also returned: those that were last changed in the future of `now`. A clock that has been set back since wrote their `due_at`.
        """
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
        approval: Approval | None = None,
        basis: Basis | None = None,
        quota: Quota | None = None,
        now: datetime | None = None,
    ) -> Recovery | None:
        """Replace `before` by `after` if the row still has `before.version`, with all the rows that belong to it.

        `approval` is inserted (a question asked again replaces the former one); `basis` is added unless every decision only
        repeats the newest ones. With a `quota` nothing is written when it is used up already: recoveries in progress and
        recoveries whose `started_at` lies at or after `quota.since` are counted in this very transaction, and no two
        transactions count at the same time.

        Returns the stored recovery (version + 1), or None when somebody else was faster and nothing was written. `failures`,
        `last_failure_at`, `severity` and `cancel_requested` are kept as they are in the row. `attempt` is inserted or
        replaced, and the first one ends the quiet of all earlier recoveries of its service; `mitigation` is put in place
        (replacing one of the same service and strategy), `ended` is removed. A decision that repeats the newest one of its
        service only counts up, as in `record`. `now` is kept as the moment of the change: `due` tells by it that a clock was set back.
        """
        ...

    def load(self, recovery: Recovery | None, guard: str, since: datetime) -> Load:
        """Return what is under way: recoveries in progress, open ones (manual and emergency left out), those begun at or after `since`.

        `ahead` counts the open recoveries held by `guard` that are more urgent than `recovery`: more severe, or as severe and
        older (then by id). For None it counts all that `guard` holds.
        """
        ...

    def wake_held(self, guard: str, limit: int, now: datetime) -> int:
        """Make the `limit` most urgent open recoveries that `guard` holds due now; return how many there were."""
        ...

    def approval(self, recovery_id: str) -> Approval | None:
        """Return the question that was asked for a recovery, if any."""
        ...

    def answer(self, recovery_id: str, answer: Answer, by: str, comment: str, now: datetime) -> Approval | None:
        """Answer the open question of a recovery and make it due; the first answer wins.

        Returns the question as it stands afterwards: also when it was answered before, or lapsed at `now` (then without an
        answer). None if none was asked or the recovery is closed.
        """
        ...

    def bases(self, since: datetime, limit: int) -> list[Basis]:
        """Return what decisions at or after `since` rested on, oldest first, at most `limit`."""
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

    def hand_back(self, lease: Lease, number: int, now: datetime) -> None:
        """Give a claim up in the middle of an attempt, by a holder that lives: this run of the attempt is taken off its `runs`.

        An attempt that is not running stays as it is. Raises `LeaseLost` if `lease` is not the newest.
        """
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
        """Append one row to the audit trail, such as an administrative call."""
        ...

    def refuse(self, refusals: Sequence[Refusal]) -> None:
        """Note reports that were not taken in, in the audit trail.

        Equal ones within a minute count up one row (`times` in its detail), and beyond a hundred kinds a minute the rest
        shares one row: a flood of them does not fill the disk.
        """
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
        self,
        samples: Sequence[Sample],
        checks: Sequence[CheckState],
        services: Sequence[ServiceState],
        events: Sequence[Event],
        now: datetime | None = None,
    ) -> None:
        """Store one sweep in one transaction; a check state older than the stored one is dropped.

        With `now`, what is stored in its future by more than clocks disagree blocks nothing: the clock was set back since.
        """
        ...

    def mark_started(self, service: str, at: datetime) -> None:
        """Note that a remedy (re)started or mended `service`: `start_grace` counts from `at`, running verdicts of its checks are cleared.

        Whatever was seen before `at` no longer counts: `record_sweep` drops check states whose `at` lies before it.
        """
        ...


class BreakerHistory(Protocol):
    """What circuit breakers showed, and when."""

    def record_changes(self, changes: Sequence[BreakerChange]) -> int:
        """Store changes, each with its event `circuit:...` if it has one; those known by stream id and name are passed over.

        Returns how many were new.
        """
        ...

    def breaker_changes(self, breaker: str, limit: int) -> list[BreakerChange]:
        """Return the newest changes of one breaker, newest first."""
        ...


class Store(LeaseStore, Leadership, RecoveryStore, PolicyStore, HealthStore, BreakerHistory, RuleStore, Protocol):
    """The whole of it, as one object."""
