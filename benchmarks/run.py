"""Runs benchmarks and prints the table: all of them, or one on a platform of its own."""

import signal
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.results import Result, print_table, progress
from benchmarks.stage import measured
from tests.stage import Stage

OnStage = Callable[[Stage], list[Result]]
"""A benchmark that needs a running platform."""


def run(on_stage: Sequence[OnStage], without: Sequence[Callable[[], list[Result]]] = ()) -> None:
    """Run them one after another, nothing beside, and print what came out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the platform ends, too
    began = time.monotonic()
    results: list[Result] = []
    try:
        if on_stage:
            progress("starting the platform")
            with measured() as stage:
                for measure in on_stage:
                    results += measure(stage)
        for free in without:
            results += free()
    finally:
        print_table(results, time.monotonic() - began)  # also when one broke: the others took minutes


def alone(measure: OnStage) -> None:
    """Run one benchmark that needs a platform."""
    run([measure])
