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


def test_without_a_fleet_only_housekeeping_and_canaries_are_sent() -> None:
    tasks = {entry["task"] for entry in beat_schedule.entries(None).values()}

    assert tasks == {"maintenance.tick", "maintenance.prune", "maintenance.canary", "celery.backend_cleanup"}


def test_a_canary_goes_through_every_queue_and_is_dropped_when_the_next_one_is_due() -> None:
    canaries = [entry for entry in beat_schedule.entries(None).values() if entry["task"] == "maintenance.canary"]

    assert {entry["options"]["queue"] for entry in canaries} == set(celeryconfig.QUEUES)
    for entry in canaries:
        assert entry["kwargs"]["queue"] == entry["options"]["queue"]
        assert entry["options"]["expires"] == entry["schedule"] == 30


def test_the_listener_outside_is_pinged_only_if_there_is_one_and_its_url_stays_out_of_the_message() -> None:
    fleet = fleet_of(5)
    listened = fleet.model_copy(update={"platform": fleet.platform.model_copy(update={"ping_url": "https://hc.example/secret"})})

    assert "alerts.ping" not in {entry["task"] for entry in beat_schedule.entries(fleet).values()}
    assert beat_schedule.ping(listened) == {
        "ping": {"task": "alerts.ping", "schedule": 60.0, "options": {"queue": "alerts", "expires": 60.0}}
    }


def test_every_entry_goes_to_a_declared_queue() -> None:
    for entry in beat_schedule.entries(fleet_of(1, 30)).values():
        assert entry["options"]["queue"] in celeryconfig.QUEUES
