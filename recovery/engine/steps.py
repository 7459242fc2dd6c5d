"""Runs the steps of one attempt through the journal: a row before each side effect, a row after it, and after a crash a question first."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

from recovery.errors import DriverError, StepFailed
from recovery.models import JsonObject, Lease, Step, StepState
from recovery.ports import Clock, RecoveryStore, StepWork


class Journal:
    """The journal of one attempt, as its holder sees it.

    Args:
        store: where the rows go; refuses them once the lease is lost.
        lease: the right to act.
        attempt: number of the attempt.
        rows: what earlier holders left behind.
        clock: returns the current time.
    """

    def __init__(self, store: RecoveryStore, lease: Lease, attempt: int, rows: Sequence[Step], clock: Clock) -> None:
        self._store = store
        self._lease = lease
        self._attempt = attempt
        self._clock = clock
        self._rows = {row.position: row for row in rows}
        self.results: dict[str, JsonObject] = {row.name: row.result for row in rows if row.state is StepState.FINISHED}

    def perform(self, steps: Sequence[StepWork], boundary: Callable[[], None], offset: int = 0) -> None:
        """Run `steps` in order; those that took effect before are not run again.

        Args:
            steps: what to do; they are journaled at the positions from `offset` on.
            boundary: called before each step; raises to stop (lease lost, cancelled).
            offset: position of the first step.

        Raises `StepFailed` or `DriverError` from a step that is not optional, `LeaseLost` when somebody else has the service.
        """
        for position, work in enumerate(steps, start=offset):
            boundary()
            row = self._rows.get(position)
            if row is None or not self._took_effect(row, work):
                self._run(position, work)

    def reached(self, position: int) -> bool:
        """Say whether a step at `position` or later was begun."""
        return max(self._rows, default=-1) >= position

    def note(self, position: int, name: str, result: JsonObject, *, ok: bool) -> None:
        """Write down something that has no side effect, such as the verification."""
        now = self._clock()
        state = StepState.FINISHED if ok else StepState.FAILED
        self._write(Step(self._lease.recovery_id, self._attempt, position, name, state, self._lease.fence, now, now, result=result))

    def _took_effect(self, row: Step, work: StepWork) -> bool:
        if row.name != work.name:
            raise StepFailed(f"the steps changed with the configuration while they ran: '{row.name}' was begun where '{work.name}' is now")
        if row.state is StepState.FINISHED or (row.state is StepState.FAILED and work.optional):
            return True
        if row.state is StepState.FAILED:
            raise StepFailed(f"{row.name}: {row.error}")
        with within(work.timeout, work.name):
            result = work.reconcile(row.intent)
        if result is None:
            return False
        self._finish(replace(row, reconciled=True), result)
        return True

    def _run(self, position: int, work: StepWork) -> None:
        started = self._clock()
        with within(work.timeout, work.name):
            intent = work.prepare()
        row = Step(
            self._lease.recovery_id, self._attempt, position, work.name, StepState.STARTED, self._lease.fence, started, intent=intent
        )
        self._write(row)
        try:
            with within(work.timeout, work.name):
                result = work.run(intent)
        except (StepFailed, DriverError) as error:
            self._write(replace(row, state=StepState.FAILED, finished_at=self._clock(), error=error.message))
            if not work.optional:
                raise
            return
        self._finish(row, result)

    def _finish(self, row: Step, result: JsonObject) -> None:
        self._write(replace(row, state=StepState.FINISHED, finished_at=self._clock(), result=result, fence=self._lease.fence))
        self.results[row.name] = result

    def _write(self, row: Step) -> None:
        self._store.journal(self._lease, row)
        self._rows[row.position] = row


REPEAT = 5.0
"""Seconds after which a step is interrupted again, if the first interruption was swallowed or came at a bad moment."""


class _Shield:
    depth = 0


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no time limit hit the block: a database call that is left in the middle may leave its transaction open."""
    _Shield.depth += 1
    try:
        yield
    finally:
        _Shield.depth -= 1


class _Expired(BaseException):
    """Time is up. No `Exception`, because what runs inside a step (drivers, checks, SQLAlchemy) catches or wraps those."""


@contextmanager
def within(seconds: float, name: str) -> Iterator[None]:
    """Raise `StepFailed` if the block takes longer than `seconds`.

    Works by an interval timer, so only in the main thread of a process, which is where pool workers run their tasks; elsewhere
    the task's own time limit is the only bound.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    over = False

    def expire(_signal: int, _frame: FrameType | None) -> None:
        if not over and not _Shield.depth:
            raise _Expired

    def stop() -> None:
        nonlocal over
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)

    previous = signal.signal(signal.SIGALRM, expire)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
            yield
        finally:
            stop()
    except _Expired:
        stop()  # again: the alarm may have hit the first one
        raise StepFailed(f"{name} took longer than {seconds:g} s") from None
