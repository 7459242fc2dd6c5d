"""Sentences about errors end once: what follows a hint like `did you mean 'x'?` is a bracket or nothing."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recovery.breaker.options import BreakerOptions
from recovery.client.healing import HealingOptions
from recovery.errors import RecoveryError
from tests.trial import Trial

ROOT = Path(__file__).parents[2]
HINT = re.compile(r"nearest\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\}[.;:,!?]")
"""A hint in an f-string, with a mark right behind it."""
TWO_MARKS = re.compile(r"[?!;:,.][;:,.]")


def test_the_pattern_finds_a_mark_behind_a_hint() -> None:
    assert HINT.search("""f"no such command '{name}'{nearest(name, known(1))}; see" """)
    assert not HINT.search("""f"unknown '{name}'{nearest(name, known)} (known: {listing(known)})" """)


@pytest.mark.parametrize("folder", ["recovery", "strategies", "workers"])
def test_nothing_follows_a_hint_but_a_bracket(folder: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {hit.group()}" for path in (ROOT / folder).rglob("*.py") for hit in HINT.finditer(path.read_text())
    ]

    assert found == []


@pytest.mark.parametrize(
    ("refuse", "options", "end"),
    [
        (partial(BreakerOptions.of, "gateway"), {"mode": "metric_only"}, "did you mean 'metrics_only'?"),
        (partial(BreakerOptions.of, "gateway"), {"mode": "xyz"}, "forced_open."),
        (partial(BreakerOptions.of, "gateway"), {"failure_treshold": 3}, "did you mean 'failure_threshold'?"),
        (partial(BreakerOptions.of, "gateway"), {"xyz": 3}, "'xyz'."),
        (HealingOptions.of, {"attemps": 3}, "did you mean 'attempts'?"),
        (HealingOptions.of, {"xyz": 3}, "'xyz'."),
    ],
)
def test_a_sentence_with_or_without_a_hint_ends_with_one_mark(refuse: Callable[[Any], object], options: dict[str, Any], end: str) -> None:
    with pytest.raises(RecoveryError) as caught:
        refuse(options)

    assert caught.value.message.endswith(end)
    assert not TWO_MARKS.search(caught.value.message)


def test_what_a_rollback_adds_follows_on_a_reason_that_is_a_whole_sentence() -> None:
    trial = Trial()

    def cancel() -> None:
        trial.world.desk.cancel(trial.recovery_id)

    trial.restart.during["two"] = cancel

    reason = trial.run().reason

    assert reason == "An operator cancelled the recovery; the attempt ended at a step boundary; rolled back: two, one"
