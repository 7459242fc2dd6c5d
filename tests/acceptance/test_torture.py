"""A short campaign of `make torture`: the platform loses nothing, repeats nothing, and is well again."""

import argparse

import pytest

from tests.torture.__main__ import torture
from tests.torture.judge import judge


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_platform_that_is_killed_and_frozen_at_random_loses_nothing_and_never_acts_twice() -> None:
    chosen = argparse.Namespace(kills=12, minutes=None, seed=12, plant=None, database=None, redis=None, keep=False)

    record, violations = torture(chosen)

    assert violations == []
    assert len(record.hits) >= 6, f"nobody came by at {record.unreached}"
    effects = [entry for entry in record.evidence.entries if entry.phase == "effect"]
    assert effects, "the patients were mended"
    assert record.evidence.writes, "the database was watched"
    assert judge(record.evidence) == violations
