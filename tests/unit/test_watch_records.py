"""What the watch writes: few pulses, one event when sight is lost and one when it is back, nothing of its own memory needed."""

from datetime import datetime

from recovery.config.fleet import Fleet
from recovery.models import ServiceState
from recovery.store.memory import MemoryStore
from recovery.watch import PartStatus, Watch
from recovery.watch.signs import missed_sweeps
from tests.rows import at

FLEET = Fleet.model_validate(
    {"version": "v1", "services": {"shop": {"name": "shop", "checks": [{"name": "tcp", "type": "tcp", "interval": 5, "timeout": 1}]}}}
)


class Story:
    """A store, a clock, and any number of processes that watch."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.now = 0.0
        self.one, self.other = self.process(), self.process()

    def process(self) -> Watch:
        return Watch(self.store, lambda: FLEET, ("restart",), self.clock)

    def clock(self) -> datetime:
        return at(self.now)

    def sweep(self) -> None:
        self.store.record_sweep((), (), [ServiceState("shop", seen_at=self.clock())], ())

    def told(self) -> list[str]:
        return [event.name for event in self.store.events if event.name.startswith("platform:")]

    def status(self, name: str) -> PartStatus:
        (part,) = [part for part in self.one.health().parts if part.name == name]
        return part.status


def test_ticks_of_several_processes_are_noted_once_in_five_seconds() -> None:
    story = Story()
    noted = set()
    for second in range(60):
        story.now = second
        story.one.ticked("1@host")
        story.other.ticked("1@host")
        noted.add(story.store.pulses()["tick"].at)

    assert len(noted) == 12
    assert story.status("tick") is PartStatus.OK


def test_ticks_that_one_process_stops_getting_are_noted_by_the_other_before_anybody_misses_them() -> None:
    story = Story()
    story.one.ticked("1@host")
    story.now = 4.9
    story.other.ticked("1@host")
    for second in range(5, 60):
        story.now = second
        story.other.ticked("1@host")
        assert story.status("tick") is PartStatus.OK


def test_going_blind_and_seeing_again_is_told_once_each_by_whichever_process_comes_first() -> None:
    story = Story()
    for second in range(200):
        story.now = second
        if second < 20 or second >= 120:
            story.sweep()
        story.process().ticked("1@host")  # a new process each time: nothing lies in its memory

    blind, sees = [event for event in story.store.events if event.name.startswith("platform:")]
    assert (blind.name, sees.name) == ("platform:blind", "platform:sees")
    assert at(54) < blind.at <= at(60)
    assert at(120) <= sees.at <= at(125)
    assert str(blind.data["reason"]).startswith("no sweep for ")
    assert sees.data["blind_seconds"] == (sees.at - blind.at).total_seconds()


def test_a_clock_that_is_set_back_tells_nothing_twice() -> None:
    story = Story()
    story.one.ticked("1@host")
    assert story.told() == ["platform:blind"]

    for second in range(-40, 100, 5):
        story.now = second
        story.sweep()
        story.process().ticked("1@host")

    assert story.told() == ["platform:blind", "platform:sees"]


def test_a_canary_tells_how_long_it_took() -> None:
    story = Story()
    story.now = 10.25
    story.one.canary_came("restart", at(10))

    assert story.store.pulses()["canary:restart"].detail == {"seconds": 0.25}
    assert story.status("canary:restart") is PartStatus.OK


def test_a_canary_from_a_host_whose_clock_is_fast_took_no_time() -> None:
    story = Story()
    story.one.canary_came("restart", at(3))

    assert story.store.pulses()["canary:restart"].detail == {"seconds": 0.0}


def test_a_worker_is_missed_when_it_falls_silent_and_not_when_it_stops() -> None:
    story = Story()
    for name in ("kept@host", "killed@host"):
        story.one.worker_lives(name, {"queues": ["restart"], "pid": 1, "version": "1"})
    story.now = 31

    story.one.worker_stops("kept@host")

    workers = [part.name for part in story.one.health().troubles if part.name.startswith("worker:")]
    assert workers == ["worker:killed@host"]


def test_a_stopped_worker_that_comes_back_is_watched_again() -> None:
    story = Story()
    story.one.worker_stops("recover@host")
    story.one.worker_lives("recover@host", {"queues": ["restart"], "pid": 2, "version": "1"})

    assert story.status("worker:recover@host") is PartStatus.OK


def test_only_a_change_at_the_listener_outside_is_worth_a_word() -> None:
    story = Story()

    changes = [story.process().pinged(error) for error in (None, None, "refused", "it answered 500", None, None)]

    assert changes == [False, False, True, False, True, False]
    assert Story().one.pinged("refused"), "a listener that never answered is worth one, too"


def test_parts_that_are_gone_for_a_day_are_forgotten() -> None:
    story = Story()
    story.one.worker_stops("old@host")
    story.now = 86_400
    story.one.worker_stops("new@host")

    assert story.one.forget() == 0
    story.now = 86_401
    assert story.one.forget() == 1
    assert list(story.store.pulses()) == ["worker:new@host"]


def test_a_name_fits_into_its_column() -> None:
    story = Story()
    story.one.worker_lives("w" * 300, {})

    assert [len(name) for name in story.store.pulses()] == [200]


def tick(story: Story, *seconds: float) -> None:
    for second in seconds:
        story.now = second
        story.one.ticked("1@host")
        story.other.ticked("1@host")


def test_a_pause_of_the_ticks_is_told_once_with_the_sweeps_that_were_missed() -> None:
    story = Story()
    tick(story, *range(60))
    tick(story, *range(120, 180))

    (event,) = [event for event in story.store.events if event.name == "platform:missed"]
    assert (event.at, event.data["seconds"], event.data["sweeps"]) == (at(120), 65.0, 13)
    assert story.one.health().missed == "no tick came for 65 s until 12:02:00 UTC; sweeps missed meanwhile: 13, none is made up for"


def test_ticks_that_are_only_noted_late_are_no_pause() -> None:
    story = Story()
    tick(story, 0, 14, 29, 44)

    assert "platform:missed" not in story.told()
    assert story.one.health().missed is None


def test_a_platform_that_ticks_for_the_first_time_has_missed_nothing() -> None:
    story = Story()
    tick(story, 10_000)

    assert story.told() == ["platform:blind"]


def test_sweeps_are_missed_per_interval_and_shard() -> None:
    checks = [{"name": f"every-{each}", "type": "tcp", "interval": each, "timeout": 1} for each in (5, 60)]
    services = {name: {"name": name, "checks": checks} for name in ("shop", "web")}
    fleet = Fleet.model_validate({"version": "v1", "platform": {"shards": 2}, "services": services})

    assert missed_sweeps(fleet, 61) == 2 * (12 + 1)
    assert missed_sweeps(fleet, 4) == 0
