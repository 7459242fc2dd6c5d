"""How long a service is away: killed, frozen, or answering 500, until it answers again and until that is verified.

Checks every second, fall 1, rise 1, a service that starts in 0.1 s. Each fault falls at a random moment between two sweeps.
"""

import random
import time
from collections.abc import Callable
from datetime import datetime

from benchmarks.peers import Guarded, supervisord, watchdog
from benchmarks.results import Result, progress, summed
from benchmarks.run import alone
from benchmarks.stage import BOOT, folder
from recovery.models import Outcome, utcnow
from tests.sickbed import Patient
from tests.stage import Stage
from tests.support import eventually

NAME = "recovery time"
ROUNDS = 9
FAULTS: dict[str, tuple[Callable[[Patient], None], float]] = {
    "kill -9": (Patient.kill, 2.0),
    "SIGSTOP": (Patient.freeze, 4.0),
    "answers 500": (Patient.ail, 2.5),
}
"""What is done to the service, and the seconds in which it should be verified healthy."""
LOOK = 0.01
"""Seconds between the looks of whoever waits for an answer, and the patience of one look where the service hangs: ten times that."""


def measure(stage: Stage) -> list[Result]:
    """Return the seconds for each fault, beside supervisord and a polling watchdog."""
    results: list[Result] = []
    with (
        folder() as one,
        folder() as two,
        supervisord(Guarded("supervised", boot=BOOT), one) as supervised,
        watchdog(Guarded("watched", boot=BOOT), two) as watched,
    ):
        for fault, (do, target) in FAULTS.items():
            progress(f"{NAME}: {fault}, {ROUNDS} rounds")
            results += _rounds(stage, fault, do, target, supervised, watched)
    return results


def _rounds(stage: Stage, fault: str, do: Callable[[Patient], None], target: float, supervised: Guarded, watched: Guarded) -> list[Result]:
    times: dict[str, list[float]] = {}

    def note(case: str, seconds: float) -> None:
        times.setdefault(case, []).append(seconds)

    for _ in range(ROUNDS):
        answered, verified = _ours(stage, stage.patients["quick"], do)
        note(f"{fault}: verified healthy", verified)
        note(f"{fault}: answers again", answered)
        if do is Patient.kill:  # supervisord sees nothing else, and more of the same would only take longer
            note(f"{fault}: verified healthy for 1 s, the default", _ours(stage, stage.patients["usual"], do)[1])
            note(f"{fault}: supervisord, answers again", _theirs(supervised, do))
        note(f"{fault}: watchdog loop, answers again", _theirs(watched, do))
    return [
        summed(NAME, case, values, "s", target if case.endswith(": verified healthy") else None)
        for case, values in sorted(times.items(), key=lambda item: ("watchdog" in item[0], "supervisord" in item[0]))
    ]


def _ours(stage: Stage, patient: Patient, do: Callable[[Patient], None]) -> tuple[float, float]:
    stage.await_healthy(patient.name)
    time.sleep(random.uniform(0, 1))  # anywhere between two sweeps
    since, began, starts = utcnow(), time.monotonic(), patient.starts
    do(patient)
    answered = _answers_again(patient, starts, began)
    recovery = stage.closed(patient.name, since)
    assert recovery.outcome is Outcome.RESOLVED, recovery
    return answered, _seconds(since, recovery.finished_at)


def _theirs(patient: Guarded, do: Callable[[Patient], None]) -> float:
    time.sleep(1.2 + random.uniform(0, 1))  # supervisord calls a program running after a second
    began, starts = time.monotonic(), patient.starts
    do(patient)
    return _answers_again(patient, starts, began)


def _answers_again(patient: Patient, starts: int, began: float) -> float:
    eventually(lambda: patient.starts > starts and patient.answers(timeout=10 * LOOK) == 200, within=30, every=LOOK)
    return time.monotonic() - began


def _seconds(since: datetime, until: datetime | None) -> float:
    assert until is not None
    return (until - since).total_seconds()


if __name__ == "__main__":
    alone(measure)
