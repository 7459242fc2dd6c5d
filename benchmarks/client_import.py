"""How long a service waits for `import recovery.client`, in processes that never imported it before, beside Celery's own import.

The files are in the system's cache, as they are from the second start of a service on; Python itself has started already.
"""

import subprocess
import sys

from benchmarks.results import Result, progress, summed
from benchmarks.run import run

NAME = "import"
ROUNDS = 15
TARGET = 100.0
"""Milliseconds."""
CASES = {
    "from celery import Celery": "from celery import Celery",
    "import recovery.client": "import recovery.client",
    "import recovery.client, and a client of one URL": "from recovery.client import RecoveryClient; RecoveryClient('redis://127.0.0.1:1/0')",
}
PROGRAM = "import time; began = time.perf_counter(); {statement}; print((time.perf_counter() - began) * 1000)"


def measure() -> list[Result]:
    """Return milliseconds; the cases take turns, so that a busy moment hits all of them."""
    progress(f"{NAME}: {ROUNDS} fresh processes each")
    times: dict[str, list[float]] = {case: [] for case in CASES}
    for _ in range(ROUNDS):
        for case, statement in CASES.items():
            told = subprocess.run([sys.executable, "-c", PROGRAM.format(statement=statement)], capture_output=True, check=True)
            times[case].append(float(told.stdout))
    return [summed(NAME, case, times[case], "ms", TARGET if case == "import recovery.client" else None) for case in CASES]


if __name__ == "__main__":
    run([], [measure])
