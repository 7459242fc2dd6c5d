"""Takes back what an attempt did: its steps are undone in reverse order, each by a step of its own in the same journal.

An attempt is rolled back when it ended half-way (a step failed, cancelled, out of time), and when its remedy only mitigates and
was not verified: nobody else would ever end it. A row that says why comes first, so that a successor goes on with the rollback.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from recovery.engine.retries import Pace
from recovery.engine.steps import FAILURES, VERIFY, Journal
from recovery.errors import LeaseLost, StepFailed, StoreUnavailable, TimeUp
from recovery.models import JsonObject, Outcome, Step, StepState
from recovery.ports import StepWork

log = structlog.get_logger("recovery")

INTERRUPTIONS = (LeaseLost, StoreUnavailable, MemoryError)
"""Say nothing about the remedy: the attempt stays as it is, and whoever takes it up next goes on."""

ROLLBACK_AT = 2_000
"""Position of the row of the rollback itself; step n is undone at n + 1 before it, so that the journal reads in the order of time."""
MIDDLE = ROLLBACK_AT // 2
"""Below it lie the steps, above it their undoing."""
DOUBT = {StepState.STARTED: " (begun, nobody knows how far)", StepState.FAILED: " (failed)"}
"""What is said of a step that did not finish."""


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended."""

    outcome: Outcome
    reason: str


def begun(journal: Journal) -> Result | None:
    """Return how the attempt ended whose rollback was begun, None if none was."""
    row = journal.row(ROLLBACK_AT)
    return Result(Outcome(str(row.intent["outcome"])), str(row.intent["reason"])) if row else None


def left_undone(rows: Iterable[Step]) -> str:
    """Say what an attempt left behind whose workers died: which steps stay done, and how far a rollback came. Empty if it did nothing.

    Args:
        rows: the journal of the attempt.
    """
    by_place = {row.position: row for row in rows}
    rollback = by_place.get(ROLLBACK_AT)
    if rollback is not None and rollback.state is not StepState.STARTED:
        return rollback.error
    deeds = [row for place, row in sorted(by_place.items()) if place < MIDDLE and row.name != VERIFY]
    back = [row.name for row in deeds if _is_undone(by_place.get(_place(row.position)))]
    stays = [f"{row.name}{DOUBT.get(row.state, '')}" for row in deeds if row.name not in back]
    parts = [
        "its rollback is not finished" if rollback is not None else "",
        f"undone: {', '.join(back)}" if back else "",
        f"not undone: {', '.join(stays)}" if stays else "",
    ]
    return "; ".join(part for part in parts if part)


def _is_undone(row: Step | None) -> bool:
    return row is not None and row.state is StepState.FINISHED


def roll_back(journal: Journal, steps: Sequence[StepWork], ended: Result, pace: Pace) -> Result:
    """Undo what was begun of `steps`, the last first; return `ended`, with what became of the rollback in its reason.

    A step that cannot be undone does not keep those before it from being undone. Nothing was begun that could be undone:
    nothing is written.
    """
    todo = [(position, row.name, work) for position, work in enumerate(steps) if work.undo and (row := journal.row(position))]
    if not todo:
        return ended
    rollback = journal.start(ROLLBACK_AT, "rollback", {"outcome": str(ended.outcome), "reason": ended.reason})
    if rollback.finished_at is None:
        journal.write(rollback)
    undone: list[str] = []
    troubles: dict[str, str] = {}
    for position, name, work in reversed(todo):
        try:
            undone += [name] if _undo(journal, position, work, pace) else []
        except INTERRUPTIONS:
            raise
        except FAILURES as error:
            troubles[name] = error.message
            _note(journal, position, name, error.message)
        except TimeUp as error:
            troubles[name] = error.message
        except Exception as error:
            log.exception("undo.broke", step=name)
            troubles[name] = f"{type(error).__name__}: {error}"
    told = _told(undone, troubles)
    state = StepState.FAILED if troubles else StepState.FINISHED
    summary: JsonObject = {"undone": [*undone], "troubles": {**troubles}}
    journal.write(replace(rollback, state=state, finished_at=pace.clock(), result=summary, error=told if troubles else ""))
    return replace(ended, reason=f"{ended.reason.rstrip('.')}; {told}" if told else ended.reason)


def _undo(journal: Journal, position: int, work: StepWork, pace: Pace) -> bool:
    """Undo one step; return False if there was nothing to take back."""
    row, at = journal.row(position), _place(position)
    assert row is not None
    assert work.undo is not None
    before = journal.row(at)
    if before is not None and before.state is StepState.FAILED:
        raise StepFailed(before.error)
    if before is None and row.state is not StepState.FINISHED and any(journal.row(_place(earlier)) for earlier in range(position)):
        return False  # it was asked already; what was undone since then would make it answer wrongly
    if row.name != work.name:
        raise StepFailed("the steps changed with the configuration")
    pace.boundary()
    result = row.result if row.state is StepState.FINISHED else journal.found(row, work, pace, row.error)
    undo = work.undo(row.intent, result)
    if undo is None:
        return False
    journal.do(at, replace(undo, name=f"undo {work.name}", optional=False), pace)
    return True


def _place(position: int) -> int:
    """Return where the undoing of the step at `position` is journaled."""
    return ROLLBACK_AT - 1 - position


def _note(journal: Journal, position: int, name: str, error: str) -> None:
    """Write down that a step cannot be undone, unless its undoing has said so itself: a successor must not try again."""
    if journal.row(_place(position)) is None:
        journal.note(_place(position), f"undo {name}", {}, ok=False, error=error)


def _told(undone: Sequence[str], troubles: dict[str, str]) -> str:
    parts = [f"rolled back: {', '.join(undone)}"] if undone else []
    parts += [f"could not undo {name}: {error}" for name, error in troubles.items()]
    return "; ".join(parts)
