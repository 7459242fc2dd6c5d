"""How long a service waits for `import recovery.client`, in processes that never imported it before, beside Celery's own import.

The files are compiled and in the system's cache, as they are from the second start of a service on, whatever this environment says of
keeping compiled files; Python itself has started already.
"""

import os
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
    for _ in range(1 + ROUNDS):
        for case, statement in CASES.items():
            times[case].append(_milliseconds(statement))
    return [summed(NAME, case, times[case][1:], "ms", TARGET if case == "import recovery.client" else None) for case in CASES]


def _milliseconds(statement: str) -> float:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    program = PROGRAM.format(statement=statement)
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, env=environ)
    return float(told.stdout)


if __name__ == "__main__":
    run([], [measure])
