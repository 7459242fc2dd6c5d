"""Runs the steps of one attempt through the journal: a row before each side effect, a row after it, and after a crash a question first."""

from collections.abc import Sequence
from dataclasses import replace

from recovery.engine.limits import within
from recovery.engine.retries import ONCE, Pace, Unsure, try_until_done
from recovery.errors import Cancelled, DriverError, StepFailed, TimeUp
from recovery.models import JsonObject, Lease, Step, StepState
from recovery.ports import Clock, RecoveryStore, StepWork

FAILED_TRIES = "failed_tries"
"""Key in the result of a step that is still to be done: how many tries failed so far."""
TRIES = "tries"
"""Key in the result of a step that is done: how many tries it took, where it took several."""

VERIFY = "verify"
"""Name of the row that says how the verification went; it has no side effect."""

FAILURES = (StepFailed, DriverError)
"""Say that a step did not do what it should; anything else that is raised says that the attempt must stop."""


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

    def row(self, position: int) -> Step | None:
        """Return what is written at `position`, None if nothing was begun there."""
        return self._rows.get(position)

    def perform(self, steps: Sequence[StepWork], pace: Pace) -> None:
        """Run `steps` in order; those that took effect before are not run again.

        Raises `StepFailed` or `DriverError` from a step that is not optional, `LeaseLost` when somebody else has the service,
        and whatever the boundary of `pace` raises.
        """
        for position, work in enumerate(steps):
            pace.boundary()
            self.do(position, work, pace)

    def do(self, position: int, work: StepWork, pace: Pace) -> None:
        """Run one step at `position`, unless it is over or took effect under an earlier holder."""
        row = self._rows.get(position)
        if row is not None and _is_over(row, work):
            return
        try:
            if row is None or self.found(row, work, pace) is None:
                retry, failed = work.retry or ONCE, _count(row)
                try_until_done(lambda: self._once(position, work, pace), retry, pace, failed, lambda *said: self._note(position, *said))
        except (*FAILURES, Cancelled, TimeUp) as error:
            if (left := self._rows.get(position)) is not None:
                self.write(replace(left, state=StepState.FAILED, finished_at=self._clock(), error=error.message))
            if not (work.optional and isinstance(error, FAILURES)):
                raise

    def found(self, row: Step, work: StepWork, pace: Pace, error: str = "") -> JsonObject | None:
        """Ask a step that was begun whether it took effect; write down and return its result if so, None if not."""
        with within(work.timeout, work.name, pace.deadline):
            result = work.reconcile(row.intent)
        if result is not None:
            self._finish(replace(row, reconciled=True, error=error), result)
        return result

    def note(self, position: int, name: str, result: JsonObject, *, ok: bool, error: str = "") -> None:
        """Write down something that has no side effect, such as the verification."""
        now = self._clock()
        state = StepState.FINISHED if ok else StepState.FAILED
        fence = self._lease.fence
        self.write(Step(self._lease.recovery_id, self._attempt, position, name, state, fence, now, now, result=result, error=error))

    def start(self, position: int, name: str, intent: JsonObject) -> Step:
        """Return the row of something that begins now; one that was begun before keeps its beginning and its failures."""
        before = self._rows.get(position)
        if before is None:
            before = Step(self._lease.recovery_id, self._attempt, position, name, StepState.STARTED, self._lease.fence, self._clock())
        return replace(before, state=StepState.STARTED, fence=self._lease.fence, intent=intent)

    def write(self, row: Step) -> None:
        """Store a row; raises `LeaseLost` if somebody else has the service."""
        self._store.journal(self._lease, row)
        self._rows[row.position] = row

    def _once(self, position: int, work: StepWork, pace: Pace) -> None:
        """Try a step; an error is answered like a crash, by the question whether it took effect after all."""
        with within(work.timeout, work.name, pace.deadline):
            intent = work.prepare()
        row = self.start(position, work.name, intent)
        self.write(row)
        try:
            with within(work.timeout, work.name, pace.deadline):
                result = work.run(intent)
        except FAILURES as error:
            if self._found_after(error, row, work, pace) is None:
                raise
            return
        self._finish(replace(row, error=""), result)

    def _found_after(self, error: StepFailed | DriverError, row: Step, work: StepWork, pace: Pace) -> JsonObject | None:
        try:
            return self.found(row, work, pace, error.message)
        except FAILURES as doubt:
            raise Unsure(f"{error.message}; {doubt.message}") from error

    def _note(self, position: int, failed: int, message: str) -> None:
        """Write down a try that failed and will be followed by another; one that failed while it only looked leaves no row."""
        if (row := self._rows.get(position)) is not None:
            self.write(replace(row, result={FAILED_TRIES: failed}, error=message))

    def _finish(self, row: Step, result: JsonObject) -> None:
        failed = _count(row)
        result = {**result, TRIES: failed + 1} if failed else result
        self.write(replace(row, state=StepState.FINISHED, finished_at=self._clock(), result=result, fence=self._lease.fence))
        self.results[row.name] = result


def _is_over(row: Step, work: StepWork) -> bool:
    """Say whether a step that was begun needs no more; raises `StepFailed` if it failed."""
    if row.name != work.name:
        raise StepFailed(f"the steps changed with the configuration while they ran: '{row.name}' was begun where '{work.name}' is now")
    if row.state is StepState.FAILED and not work.optional:
        raise StepFailed(row.error)
    return row.state is not StepState.STARTED


def _count(row: Step | None) -> int:
    failed = row.result.get(FAILED_TRIES, 0) if row is not None else 0
    return failed if isinstance(failed, int) else 0
