"""How much memory `recovery up` takes: each part with its children, the pool of the remedies as large as it may grow.

RSS counts the pages that parent and children share in each of them; PSS counts them once, so it is what the machine really gives.
"""

from collections.abc import Callable

import psutil

from benchmarks.results import Result, progress
from benchmarks.run import alone
from recovery.models import utcnow
from tests.stage import Stage
from tests.support import eventually
from workers.platform.children import REMEDIES

NAME = "memory"
PARTS = ("recover", "intake", "health", "beat", "flower", "valkey")
TARGET = 400.0
"""MB of RSS for the pool with the queues of all five strategies."""
WARM_UP = 6
MB = 1_000_000


def measure(stage: Stage) -> list[Result]:
    """Return the memory of each part, main process and children together."""
    progress(f"{NAME}: of each part")
    for _ in range(WARM_UP):
        since = utcnow()
        stage.send("recovery.trigger", service="quick", strategy="restart")
        stage.closed("quick", since)
    _grow(stage)
    found = {name: [stage.part(name), *stage.part(name).children(recursive=True)] for name in PARTS}
    results = []
    for name, processes in found.items():
        rss, pss = _sum(processes, _rss), _sum(processes, _pss)
        case = "recover: the pool of all five strategy queues" if name == "recover" else name
        note = f"RSS, {len(processes)} process{'es' if len(processes) > 1 else ''}; PSS {pss:.0f} MB"
        results.append(Result(NAME, case, rss, "MB", TARGET if name == "recover" else None, note))
    everything = [process for processes in found.values() for process in processes]
    total = f"RSS, {len(everything)} processes; PSS {_sum(everything, _pss):.0f} MB"
    return [*results, Result(NAME, "all of `recovery up` but its supervisor", _sum(everything, _rss), "MB", note=total)]


def _grow(stage: Stage) -> None:
    """Let all the processes that the remedies may have be at work at once, and end that work; they stay for half a minute."""
    since, held = utcnow(), list(stage.patients.values())[:REMEDIES]
    assert len(held) == REMEDIES, "one service can have one remedy at a time"
    starts = {patient: patient.starts for patient in held}
    for patient in held:
        patient.hold("boot")
        stage.send("recovery.trigger", service=patient.name, strategy="restart")
    eventually(lambda: all(patient.starts > starts[patient] for patient in held), within=60)
    for patient in held:
        patient.release()
        stage.closed(patient.name, since)
    grown = len(stage.part("recover").children(recursive=True))
    assert grown == REMEDIES, f"{grown} processes for remedies instead of {REMEDIES}"


def _sum(processes: list[psutil.Process], size: Callable[[psutil.Process], int]) -> float:
    return sum(map(size, processes)) / MB


def _rss(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


def _pss(process: psutil.Process) -> int:
    return int(getattr(process.memory_full_info(), "pss", 0))


if __name__ == "__main__":
    alone(measure)
