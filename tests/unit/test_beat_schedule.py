"""What beat sends, made from the declared fleet."""

import beat_schedule
import celeryconfig
from recovery.config.fleet import Fleet


def fleet_of(*intervals: float, shards: int = 1) -> Fleet:
    checks = [{"name": f"check-{number}", "type": "tcp", "interval": interval} for number, interval in enumerate(intervals)]
    return Fleet.model_validate(
        {"version": "v1", "platform": {"shards": shards}, "services": {"shop": {"name": "shop", "checks": checks}}},
    )


def test_there_is_one_sweep_per_interval_not_one_per_check() -> None:
    sweeps = beat_schedule.sweeps(fleet_of(1, 1, 1, 60))

    assert {entry["kwargs"]["interval"] for entry in sweeps.values()} == {1, 60}
    assert len(sweeps) == 2


def test_each_shard_of_an_interval_has_its_own_sweep() -> None:
    sweeps = beat_schedule.sweeps(fleet_of(5, shards=3))

    assert {entry["kwargs"]["shard"] for entry in sweeps.values()} == {0, 1, 2}
    assert {entry["kwargs"]["shards"] for entry in sweeps.values()} == {3}


def test_a_sweep_that_waited_an_interval_is_dropped() -> None:
    for entry in beat_schedule.sweeps(fleet_of(1, 2.5, 60)).values():
        assert entry["options"]["expires"] == entry["kwargs"]["interval"] == entry["schedule"]


def test_a_changed_interval_is_another_entry() -> None:
    assert not beat_schedule.sweeps(fleet_of(1)).keys() & beat_schedule.sweeps(fleet_of(2)).keys()


def test_without_a_fleet_only_housekeeping_is_sent() -> None:
    assert beat_schedule.entries(None) == beat_schedule.HOUSEKEEPING

    tasks = {entry["task"] for entry in beat_schedule.entries(None).values()}
    assert tasks == {"maintenance.tick", "maintenance.prune", "celery.backend_cleanup"}


def test_every_entry_goes_to_a_declared_queue() -> None:
    for entry in beat_schedule.entries(fleet_of(1, 30)).values():
        assert entry["options"]["queue"] in celeryconfig.QUEUES
