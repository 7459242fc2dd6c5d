"""Whose turn a sweep is, and which services it looks at: claims, intervals, shards, jitter."""

from datetime import timedelta

import pytest

from recovery.config.fleet import ServiceDeclaration
from recovery.detect.probe import Target
from recovery.detect.sweep import Swept, offset_of, targets_of
from tests.sweeping import NOON, check, scene


def test_a_sweep_that_somebody_else_just_began_is_left_alone() -> None:
    it = scene(shop=(check(),))
    it.sweep()
    it.now = NOON + timedelta(seconds=3)
    it.on_probe = lambda name: pytest.fail(f"{name} was probed twice")

    assert it.sweep() == Swept(claimed=False)


def test_sweeps_of_other_intervals_and_shards_are_claimed_separately() -> None:
    it = scene(shop=(check(),))

    claimed = []
    for interval, shard in ((10, 0), (10.0, 1), (5, 0)):
        it.now = NOON
        claimed.append(it.sweep(interval, shard, shards=2).claimed)
    it.now = NOON
    assert not it.sweep(10.0, 0, shards=2).claimed
    assert claimed == [True, True, True]


def test_every_service_is_in_exactly_one_shard_and_they_are_spread() -> None:
    it = scene(**{f"s{number}": (check(),) for number in range(400)})

    parts = [{target.service.name for target in targets_of(it.fleet, 10, shard, 4)} for shard in range(4)]

    assert sum(len(part) for part in parts) == 400
    assert set().union(*parts) == set(it.fleet.services)
    assert min(len(part) for part in parts) > 50


def test_all_checks_of_a_service_are_in_the_same_shard() -> None:
    it = scene(shop=(check("a"), check("b", interval=20)))

    homes = {shard for interval in (10, 20) for shard in range(7) if targets_of(it.fleet, interval, shard, 7)}

    assert len(homes) == 1


@pytest.mark.parametrize(("jitter", "most"), [(0, 0), (4, 4), (100, 7)])
def test_jitter_spreads_the_starts_but_leaves_time_to_finish(jitter: float, most: float) -> None:
    owner = ServiceDeclaration(name="shop")
    offsets = [offset_of(Target(owner, check(f"c{number}", jitter=jitter, timeout=3))) for number in range(200)]

    assert all(0 <= offset <= most for offset in offsets)
    assert max(offsets) >= 0.9 * most


def test_a_removed_interval_sweeps_nothing() -> None:
    it = scene(shop=(check(),))

    swept = it.sweep(interval=7)

    assert swept == Swept()
    assert it.store.service_states() == {}
