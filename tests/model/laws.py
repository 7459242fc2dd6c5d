"""What must hold at every call of the store and after every move, whatever happens."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from recovery.clocks import LONGEST
from recovery.models import Attempt, AttemptState, Kind, Lease, Recovery, RecoveryState, Severity, Step, StepState
from recovery.ports import Store
from tests.model.rows import Rows

PENDING, AWAITING, WORKS = RecoveryState.PENDING, RecoveryState.AWAITING_APPROVAL, RecoveryState.IN_PROGRESS
SUCCEEDED, FAILED = RecoveryState.SUCCEEDED, RecoveryState.FAILED
LEFT_ALONE = {RecoveryState.CANCELLED, RecoveryState.SUPPRESSED}

EDGES = {
    PENDING: {PENDING, AWAITING, WORKS, FAILED} | LEFT_ALONE,
    AWAITING: {AWAITING, PENDING, WORKS} | LEFT_ALONE,
    WORKS: {WORKS, PENDING, AWAITING, SUCCEEDED, FAILED} | LEFT_ALONE,
}
"""The diagram in docs/architecture.md."""

Deed = tuple[str, int, str]
"""A side effect: recovery, attempt, step."""


class Unlawful(BaseException):
    """A law was broken. No `Exception`, because the engine answers for those of its strategies and goes on."""


@contextmanager
def strictly() -> Iterator[None]:
    """Let nobody in between catch a broken law."""
    try:
        yield
    except AssertionError as error:
        raise Unlawful(str(error)) from error


class Laws:
    """Watches one world from the outside.

    Args:
        store: the real one.
        clock: returns the time in that world.
        most: automatic recoveries that may be in progress at once.
    """

    def __init__(self, store: Store, clock: Callable[[], datetime], most: int) -> None:
        self._store = store
        self._clock = clock
        self._most = most
        self._leases: dict[str, Lease] = {}
        self._lengths: dict[str, Any] = {}
        self._given_up: set[tuple[str, int]] = set()
        self._done: set[Deed] = set()
        self._asked: set[Deed] = set()
        self.reached: Counter[str] = Counter()
        self._closed: dict[str, Recovery] = {}
        self._ended: dict[tuple[str, int], Attempt] = {}

    @property
    def fences(self) -> dict[str, int]:
        """Return the newest fence of each service."""
        return {service: lease.fence for service, lease in self._leases.items()}

    def heard(self, name: str, args: tuple[Any, ...], answer: object) -> None:
        """Judge a call of the store that was answered."""
        judge = getattr(self, f"_on_{name}", None)
        if judge is not None:
            with strictly():
                judge(args, answer)

    def acts(self, deed: Deed, row_name: str) -> None:
        """Judge a side effect that is about to happen."""
        recovery_id, attempt, step = deed
        rows = [row for row in self._store.steps(recovery_id, attempt) if row.name == row_name]
        with strictly():
            assert [row.state for row in rows] == [StepState.STARTED], f"{step} acts without a row that says so: {rows}"
            assert deed not in self._done or deed in self._asked, f"{step} took effect twice and nobody asked in between"
        self.reached["side effect"] += 1
        self.reached["side effect repeated"] += deed in self._done
        self.reached["side effect taken back"] += step.startswith("undo")
        self._done.add(deed)
        self._asked.discard(deed)

    def asks(self, deed: Deed) -> bool:
        """Note that somebody asked whether a side effect is there; return whether it is."""
        self._asked.add(deed)
        self.reached["question"] += 1
        return deed in self._done

    def look(self, rows: Rows) -> None:
        """Judge everything that is stored."""
        recoveries = rows.recoveries.values()
        unfinished = [row for row in recoveries if row.state.is_open]
        services = [row.service for row in unfinished]
        assert len(services) == len(set(services)), f"two open recoveries of one service: {unfinished}"
        at_work = [row for row in unfinished if row.state is WORKS and row.kind in {Kind.AUTOMATIC, Kind.SCHEDULED}]
        assert len(at_work) <= self._most, f"more is in progress than the budget allows: {at_work}"
        for row in recoveries:
            assert (row.due_at is not None) == row.state.is_open, f"nobody will look at it again: {row}"
            assert (row.outcome is not None) == (row.state in {SUCCEEDED, FAILED}), row
            assert (row.finished_at is None) == row.state.is_open, row
        self._keep_the_past(recoveries, rows.attempts.values())
        self._count_attempts(recoveries, rows.attempts.values())

    def _keep_the_past(self, recoveries: Iterable[Recovery], attempts: Iterable[Attempt]) -> None:
        """What is finished never changes, but for the equal reports that a quiet recovery still counts."""
        for row in recoveries:
            if not row.state.is_open:
                bare = replace(row, failures=0, last_failure_at=None, severity=Severity.LOW, quiet_until=None)
                assert self._closed.setdefault(row.id, bare) == bare, f"a finished recovery changed: {row}"
        for attempt in attempts:
            if attempt.state in {AttemptState.FINISHED, AttemptState.SKIPPED}:
                before = self._ended.setdefault((attempt.recovery_id, attempt.number), attempt)
                assert before == attempt, f"a finished attempt changed: {before} to {attempt}"

    @staticmethod
    def _count_attempts(recoveries: Iterable[Recovery], attempts: Iterable[Attempt]) -> None:
        """Attempts follow each other, and none is left behind by a recovery that goes on or ends."""
        numbers: dict[str, list[int]] = {}
        for attempt in sorted(attempts, key=lambda attempt: (attempt.recovery_id, attempt.number)):
            numbers.setdefault(attempt.recovery_id, []).append(attempt.number)
        for row in recoveries:
            assert numbers.get(row.id, []) == list(range(1, row.attempt + 1)), f"attempts are missing: {row}"
        last = {row.id: row.attempt if row.state is WORKS else 0 for row in recoveries}
        for attempt in attempts:
            over = attempt.state in {AttemptState.FINISHED, AttemptState.SKIPPED}
            assert over or last[attempt.recovery_id] == attempt.number, f"an attempt was left behind: {attempt}"

    def _on_acquire_lease(self, args: tuple[Any, ...], lease: Lease | None) -> None:
        service, _, _, now, until = args
        if lease is None:
            return
        before = self._leases.get(service)
        assert lease.fence > (before.fence if before else 0), f"the fence of {service} did not rise"
        if before and (service, before.fence) not in self._given_up:
            plausible = now + LONGEST * self._lengths[service]
            assert not now < before.until <= plausible, f"two live leases on {service}: {before} and {lease}"
        self._leases[service], self._lengths[service] = lease, until - now

    def _on_renew_lease(self, args: tuple[Any, ...], lease: Lease) -> None:
        self._require_newest(args[0], "a renewal")
        self._leases[lease.service] = lease

    def _on_release_lease(self, args: tuple[Any, ...], _answer: object) -> None:
        self._given_up.add((args[0].service, args[0].fence))

    def _on_hand_back(self, args: tuple[Any, ...], _answer: object) -> None:
        self._require_newest(args[0], "an attempt that was handed back")
        self._given_up.add((args[0].service, args[0].fence))

    def _on_holds(self, args: tuple[Any, ...], answer: object) -> None:
        if answer:
            self._require_newest(args[0], "a guard's yes")

    def _on_begin_attempt(self, args: tuple[Any, ...], _answer: object) -> None:
        self._require_newest(args[0], "the beginning of an attempt")

    def _on_journal(self, args: tuple[Any, ...], _answer: object) -> None:
        lease, step = args
        assert isinstance(step, Step)
        self._require_newest(lease, f"a row of the journal for {step.name}")

    def _on_finish_attempt(self, args: tuple[Any, ...], _answer: object) -> None:
        self._require_newest(args[0], "the end of an attempt")

    def _on_transition(self, args: tuple[Any, ...], stored: Recovery | None) -> None:
        before = args[0]
        if stored is None:
            return
        assert before.state in EDGES, f"a finished recovery was changed: {before}"
        assert stored.state in EDGES[before.state], f"no way leads from {before.state} to {stored.state}: {stored.reason}"
        self.reached[f"{before.state} to {stored.state}"] += 1
        assert stored.version == before.version + 1, f"what was decided on version {before.version} became {stored.version}"

    def _require_newest(self, lease: Lease, what: str) -> None:
        newest = self._leases[lease.service].fence
        assert lease.fence == newest, f"{what} was accepted from fence {lease.fence}, the newest is {newest}"
        assert (lease.service, lease.fence) not in self._given_up, f"{what} was accepted from a lease that was given up"
