"""A clock that is set back or forward while services are watched: what is seen now counts, whatever was written before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from recovery.config.fleet import CheckDeclaration
from recovery.detect.verdict import judge
from recovery.models import CheckState, Sample, Status

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHECK = CheckDeclaration.model_validate({"name": "web", "type": "http", "interval": 1, "timeout": 1, "fall": 1, "start_grace": 10})
SEEN = CheckState("shop", "web", Status.HEALTHY, successes=5, at=NOON)


def sample(seconds: float) -> Sample:
    return Sample("shop", "web", NOON + timedelta(seconds=seconds), ok=False, latency=0.0)


@pytest.mark.parametrize("back", [60, 300, 86_400])
def test_a_look_after_the_clock_was_set_back_counts(back: float) -> None:
    assert judge(CHECK, SEEN, sample(-back), None).status is Status.UNHEALTHY


def test_a_look_that_is_only_late_does_not() -> None:
    assert judge(CHECK, SEEN, sample(-2), None) == SEEN


def test_a_start_that_lies_ahead_of_the_clock_gives_no_grace() -> None:
    started_at = NOON + timedelta(minutes=5)

    assert judge(CHECK, SEEN, sample(1), started_at).status is Status.UNHEALTHY
    assert judge(CHECK, SEEN, sample(1), NOON).status is Status.HEALTHY


def test_a_clock_that_jumps_forward_changes_no_verdict_by_itself() -> None:
    after = judge(CHECK, SEEN, replace(sample(300), ok=True), None)

    assert (after.status, after.successes) == (Status.HEALTHY, 6)
