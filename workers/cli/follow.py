"""Follow one recovery until it closes: each attempt and step is told as it happens."""

import time
from collections.abc import Callable, Iterator

from recovery.engine.steps import FAILED_TRIES, TRIES, VERIFY
from recovery.models import Attempt, AttemptState, Recovery, RecoveryState, Step, StepState
from recovery.store.sql import SqlStore
from workers.cli.edge import INTERRUPTED, NOT_HEALTHY, OK, SUPPRESSED, UNFINISHED, Refusal
from workers.cli.render import duration, moment

UNDER_WAY = {AttemptState.QUEUED, AttemptState.RUNNING}
PAUSE = 0.1
"""Seconds between two looks at the database."""


def exit_code_of(recovery: Recovery) -> int:
    """Return what a script wants to know: 0 recovered (or mitigated, which the outcome tells), 3 not, 4 never tried to the end."""
    return {
        RecoveryState.SUCCEEDED: OK,
        RecoveryState.SUPPRESSED: SUPPRESSED,
        RecoveryState.CANCELLED: SUPPRESSED,
    }.get(recovery.state, NOT_HEALTHY)


def follow(store: SqlStore, recovery_id: str, timeout: float | None, say: Callable[[str], None]) -> Recovery:
    """Tell the progress of a recovery by `say` and return it once it is closed.

    Args:
        store: where it is written.
        recovery_id: a full id.
        timeout: seconds to wait; None: as long as it takes.
        say: takes one line at a time.

    Raises:
        Refusal: the timeout came first, or Ctrl-C did; the recovery goes on in both cases.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    told: set[str] = set()
    look = f"see `recovery show {recovery_id[:8]}`"
    try:
        while True:
            recovery = store.recovery(recovery_id)
            if recovery is None:
                raise Refusal(f"recovery {recovery_id} is not in the history any more", NOT_HEALTHY)
            for line in progress(recovery, store.attempts(recovery_id), store.steps(recovery_id)):
                if line not in told:
                    told.add(line)
                    say(line)
            if not recovery.state.is_open:
                return recovery
            if deadline is not None and time.monotonic() > deadline:
                raise Refusal(f"not finished after {timeout:g} s ({recovery.reason or recovery.state}); it goes on, {look}", UNFINISHED)
            time.sleep(PAUSE)
    except KeyboardInterrupt:
        raise Refusal(f"stopped waiting; the recovery goes on, {look}", INTERRUPTED) from None


def ending(recovery: Recovery) -> str:
    """Return how a closed recovery ended, in one line."""
    reason = f" ({recovery.reason})" if recovery.reason else ""
    if recovery.outcome is None or exit_code_of(recovery) == SUPPRESSED:
        return f"{recovery.service}: {recovery.state}{reason}"
    return f"{recovery.service}: {recovery.outcome} after {duration(recovery.recovery_seconds or 0.0)}{reason}"


def progress(recovery: Recovery, attempts: list[Attempt], steps: list[Step]) -> Iterator[str]:
    """Return what can be told so far, in lines that stay the same while more are added."""
    is_held = recovery.state.is_open and not any(attempt.state in UNDER_WAY for attempt in attempts)
    if is_held and recovery.reason not in {"", "accepted"}:
        yield f"          {recovery.reason}"
    for attempt in attempts:
        yield from attempt_lines(attempt, [step for step in steps if step.attempt == attempt.number])


def attempt_lines(attempt: Attempt, steps: list[Step]) -> Iterator[str]:
    """Tell one attempt in lines that only ever grow in number."""
    verb = "" if attempt.action == "apply" else f" ({attempt.action})"
    yield f"{moment(attempt.created_at)}  attempt {attempt.number}: {attempt.strategy}{verb}"
    for step in steps:
        if step.state is StepState.STARTED:
            yield f"{moment(step.started_at)}    {step.name} ..."
            if failed := step.result.get(FAILED_TRIES):
                yield f"{moment(step.started_at)}    {step.name}: try {failed} failed: {step.error or 'no reason was given'}"
        else:
            name = "verify by checks" if _is_verification(step) else step.name
            yield f"{moment(step.finished_at or step.started_at)}    {name} {_step_result(step)}"
    if attempt.state in {AttemptState.FINISHED, AttemptState.SKIPPED}:
        word = attempt.outcome or attempt.state
        yield f"{moment(attempt.finished_at or attempt.created_at)}    -> {word}" + (f": {attempt.reason}" if attempt.reason else "")


def _step_result(step: Step) -> str:
    found = " (found done after a worker was lost)" if step.reconciled else ""
    if step.state is StepState.FAILED:
        return f"failed: {step.error or step.result.get('message') or 'no reason was given'}"
    tries = f" at try {step.result[TRIES]}" if TRIES in step.result else ""
    seconds = _seconds(step)
    return f"done{tries}" + (f", {duration(seconds)}" if seconds is not None else "") + found


def _seconds(step: Step) -> float | None:
    """Return how long a step took; one that is only noted at its end, such as the verification, says it itself."""
    told = step.result.get("seconds")
    if _is_verification(step) and isinstance(told, int | float):
        return float(told)
    return (step.finished_at - step.started_at).total_seconds() if step.finished_at else None


def _is_verification(step: Step) -> bool:
    """Say whether it is the engine's look at the service's checks; a strategy may call a step of its own so, which takes its time."""
    return step.name == VERIFY and "seconds" in step.result
