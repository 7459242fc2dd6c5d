"""Beat follows the declared fleet while it runs."""

from datetime import timedelta
from pathlib import Path

import pytest
from celery import Celery
from celery.beat import ScheduleEntry, SchedulingError

import celeryconfig
from recovery.ports import Leadership
from recovery.store.memory import MemoryStore
from tests.support import eventually
from workers import scheduler
from workers.scheduler import FleetScheduler

SHOP = """
[services.shop]
  [[services.shop.checks]]
  type = "tcp"
  host = "127.0.0.1"
  port = 9
  interval = {interval}
"""


class Beat(FleetScheduler):
    """Notes what it would send."""

    def __init__(self, store: Leadership | None = None) -> None:
        self.sent: list[str] = []
        self.canaries: list[str] = []
        self.store = store or MemoryStore()
        self.broker_is_away = False
        super().__init__(Celery("beat", broker="memory://", set_as_current=False))

    def _leadership(self) -> Leadership:
        return self.store

    def apply_async(self, entry: ScheduleEntry, producer: object = None, advance: bool = True, **options: object) -> None:
        if self.broker_is_away:
            raise SchedulingError("no broker")
        if entry.task == "maintenance.canary":
            self.canaries.append(entry.options["queue"])
        elif entry.name != "tick":  # due each second, however slow the test is
            self.sent.append(entry.name)

    def settle(self) -> None:
        """Tick until nothing more is due."""
        while not self.tick():
            pass


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that beat looks at on every tick."""
    monkeypatch.setattr(scheduler, "LOOK_EVERY", 0.0)
    monkeypatch.setenv("RECOVERY_CONFIG", str(tmp_path / "recovery.toml"))
    monkeypatch.setenv("RECOVERY_DATA_DIR", str(tmp_path / "data"))
    path = tmp_path / "recovery.toml"
    path.write_text(SHOP.format(interval=5))
    return path


def sweeps(beat: Beat) -> set[str]:
    return {name for name in beat.schedule if name.startswith("sweep")}


def test_a_new_sweep_is_sent_at_once(config: Path) -> None:
    beat = Beat()

    beat.settle()

    assert beat.sent == ["sweep every 5 s, shard 1 of 1"]


def test_a_canary_goes_through_every_queue_at_once(config: Path) -> None:
    beat = Beat()

    beat.settle()

    assert sorted(beat.canaries) == sorted(celeryconfig.QUEUES)


def test_a_crowded_queue_gets_no_more_canaries(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "crowded", lambda _app, _queues: frozenset({"restart"}))
    beat = Beat()

    beat.settle()

    assert sorted(beat.canaries) == sorted(set(celeryconfig.QUEUES) - {"restart"})
    assert beat.sent == ["sweep every 5 s, shard 1 of 1"]


def test_a_sweep_that_was_sent_waits_for_its_interval(config: Path) -> None:
    beat = Beat()
    beat.settle()

    beat.settle()

    assert len(beat.sent) == 1


def test_a_changed_file_changes_the_schedule(config: Path) -> None:
    beat = Beat()
    beat.settle()

    config.write_text(SHOP.format(interval=7))
    beat.settle()

    assert sweeps(beat) == {"sweep every 7 s, shard 1 of 1"}
    assert beat.sent[-1] == "sweep every 7 s, shard 1 of 1"
    assert "tick" in beat.schedule


def test_a_broken_file_keeps_the_schedule(config: Path) -> None:
    beat = Beat()

    config.write_text("[services.shop\n")
    beat.settle()

    assert sweeps(beat) == {"sweep every 5 s, shard 1 of 1"}


def test_without_a_valid_file_beat_runs_and_says_once_what_is_wrong(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    config.write_text("[services.shop\n")

    beat = Beat()
    beat.settle()

    assert sweeps(beat) == set()
    assert {"tick", "prune"} <= beat.schedule.keys()
    assert [record.levelname for record in caplog.records if "no service is watched" in record.message] == ["ERROR"]


def test_a_mended_file_is_followed(config: Path) -> None:
    config.write_text("[services.shop\n")
    beat = Beat()
    beat.settle()

    config.write_text(SHOP.format(interval=2))
    beat.settle()

    assert sweeps(beat) == {"sweep every 2 s, shard 1 of 1"}


def test_an_outage_of_the_broker_is_told_once_and_ends_nothing(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    beat = Beat()
    beat.broker_is_away = True
    beat.settle()
    config.write_text(SHOP.format(interval=3))
    beat.settle()

    beat.broker_is_away = False
    config.write_text(SHOP.format(interval=4))
    beat.settle()

    assert sum("nothing can be sent" in record.message for record in caplog.records) == 1
    assert beat.sent == ["sweep every 4 s, shard 1 of 1"]


def test_beat_leaves_no_schedule_file_behind(config: Path) -> None:
    Beat().settle()

    assert {path.name for path in config.parent.iterdir()} == {"recovery.toml", "data"}


def test_of_two_beats_only_the_first_sends(config: Path) -> None:
    store = MemoryStore()
    first, second = Beat(store), Beat(store)

    first.settle()
    second.settle()

    assert (first.sent, second.sent) == (["sweep every 5 s, shard 1 of 1"], [])


def test_a_beat_that_closes_leaves_the_lead_to_the_one_that_stands_by(config: Path) -> None:
    store = MemoryStore()
    first, second = Beat(store), Beat(store)
    first.settle()
    second.settle()

    first.close()
    first.settle()

    def taken_over() -> bool:
        second.settle()
        return bool(second.sent)

    eventually(taken_over, within=20)
    assert second.sent == ["sweep every 5 s, shard 1 of 1"]
    assert len(first.sent) == 1


def test_a_beat_under_the_name_of_a_killed_one_goes_on_at_once(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(scheduler.HOLDER, "here:/data")
    store = MemoryStore()
    Beat(store).settle()

    again = Beat(store)
    again.settle()

    assert again.sent == ["sweep every 5 s, shard 1 of 1"]


def test_after_a_pause_each_sweep_is_sent_once_and_none_is_made_up_for(config: Path) -> None:
    config.write_text(SHOP.format(interval=60))
    beat = Beat()
    beat.settle()

    for entry in beat.schedule.values():
        entry.last_run_at -= timedelta(hours=1)
    beat._heap = None
    for _ in range(3):
        beat.settle()

    assert [name for name in beat.sent if name.startswith("sweep")] == 2 * ["sweep every 60 s, shard 1 of 1"]
