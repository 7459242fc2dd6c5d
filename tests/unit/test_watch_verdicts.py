"""What the platform says of itself, from recorded signs of life, with the numbers on both sides of every limit."""

from typing import Any

import pytest

from recovery.config.fleet import Fleet
from recovery.models import CheckState, Lease, Pulse, Recovery, ServiceState
from recovery.watch import Part, PartStatus, PlatformHealth, PlatformStatus, blindness, diagnose
from recovery.watch.health import judge_sight
from tests.rows import at, recovery

QUEUES = ("restart", "failures")


def fleet_of(*intervals: float, timeout: float = 1.0, **platform: Any) -> Fleet:
    checks = [{"name": f"check-{number}", "type": "tcp", "interval": each, "timeout": timeout} for number, each in enumerate(intervals)]
    services = {"shop": {"name": "shop", "checks": checks}, "web": {"name": "web", "checks": checks}}
    return Fleet.model_validate({"version": "v1", "platform": platform, "services": services})


def seen(**moments: float) -> dict[str, ServiceState]:
    return {name: ServiceState(name, seen_at=at(moment)) for name, moment in moments.items()}


def well(now: float) -> dict[str, Pulse]:
    """The pulses of a platform in which everything came one second ago."""
    then = at(now - 1)
    canaries = {f"canary:{queue}": Pulse(f"canary:{queue}", then, {"seconds": 0.02}) for queue in QUEUES}
    worker = Pulse("worker:recover@host", then, {"queues": ["restart"], "pid": 7, "version": "1"})
    return {"tick": Pulse("tick", then, {"beat": "41@host", "blind_since": None}), "worker:recover@host": worker, **canaries}


def health(
    now: float,
    pulses: dict[str, Pulse] | None = None,
    *,
    leases: list[Lease] | None = None,
    recoveries: list[Recovery] | None = None,
    states: dict[str, ServiceState] | None = None,
    fleet: Fleet | None = None,
) -> PlatformHealth:
    known = well(now) if pulses is None else pulses
    states = seen(shop=now - 1) if states is None else states
    return diagnose(known, leases or [], recoveries or [], states, fleet or fleet_of(5), at(now), QUEUES)


def part(found: PlatformHealth, name: str) -> Part:
    (one,) = [each for each in found.parts if each.name == name]
    return one


def with_pulse(now: float, name: str, came: float, **detail: Any) -> dict[str, Pulse]:
    return well(now) | {name: Pulse(name, at(came), detail)}


# --- sight ---


def test_who_saw_a_service_within_interval_and_patience_sees() -> None:
    assert blindness(seen(shop=0), fleet_of(5), at(35)) is None


def test_the_platform_is_blind_once_no_sweep_came_for_the_shortest_interval_and_the_patience() -> None:
    assert blindness(seen(shop=0, web=-100), fleet_of(5, 60), at(35.1)) == (
        "no sweep for 35 s (limit 35 s): what the checks said is too old to act on"
    )


def test_the_newest_sweep_of_any_service_counts() -> None:
    assert blindness(seen(shop=-1000, web=0), fleet_of(5), at(10)) is None


def test_a_platform_that_never_swept_is_blind() -> None:
    assert blindness({}, fleet_of(5), at(0)) == "no sweep was ever recorded: nothing is known about any service"
    assert blindness({"shop": ServiceState("shop")}, fleet_of(5), at(0)), "a start that a remedy noted is no look"


def test_without_any_check_there_is_nothing_to_be_blind_to() -> None:
    assert blindness({}, fleet_of(), at(0)) is None


def test_what_is_no_longer_declared_does_not_count_as_seen() -> None:
    assert blindness(seen(gone=0), fleet_of(5), at(1)) is not None


def test_the_patience_is_configured_and_never_shorter_than_the_slowest_check() -> None:
    assert blindness(seen(shop=0), fleet_of(5, blind_after=10), at(15)) is None
    assert blindness(seen(shop=0), fleet_of(5, blind_after=10), at(15.1)) is not None

    slow = fleet_of(60, timeout=60, blind_after=10)
    assert blindness(seen(shop=0), slow, at(125)) is None
    assert blindness(seen(shop=0), slow, at(125.1)) is not None


def test_a_sweep_from_before_the_clock_was_set_back_is_not_fresh_for_ever() -> None:
    said = blindness(seen(shop=3600), fleet_of(5), at(0))

    assert said == "every sweep is dated at least 3600 s in the future: the clock was set back, and nobody has looked since"
    assert blindness(seen(shop=3600, web=0), fleet_of(5), at(1)) is None, "somebody has looked since"
    assert blindness(seen(shop=59), fleet_of(5), at(0)) is None, "clocks of two hosts differ a little"


def test_a_shard_that_nobody_sweeps_is_told_although_the_platform_sees() -> None:
    fleet, told = fleet_of(5), "nobody looked at 1 of 2 services for up to 41 s, others are looked at: shop"

    assert part(health(40, states=seen(shop=0, web=39), fleet=fleet), "sight").status is PartStatus.OK
    found = health(41, states=seen(shop=0, web=39), fleet=fleet)

    assert (part(found, "sight").status, part(found, "sight").message) == (PartStatus.LATE, told)
    assert (found.status, found.blind) == (PlatformStatus.DEGRADED, None)
    assert part(health(41, states=seen(web=39), fleet=fleet), "sight").status is PartStatus.OK, "it was only just declared"


# --- parts ---


def test_a_platform_whose_parts_all_gave_a_sign_is_ok() -> None:
    found = health(100)

    assert found.status is PlatformStatus.OK
    assert found.troubles == ()
    assert found.blind is None
    assert [each.name for each in found.parts] == [
        "sight",
        "tick",
        "worker:recover@host",
        "canary:restart",
        "canary:failures",
        "leases",
        "recoveries",
    ]
    assert part(found, "tick").message == "ticks come from 41@host"
    assert part(found, "worker:recover@host").message == "serves restart"
    assert part(found, "tick").age == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "limit"),
    [("tick", 15.0), ("worker:recover@host", 30.0), ("canary:restart", 75.0)],
)
def test_a_part_is_late_beyond_its_limit_and_lost_beyond_four_times_of_it(name: str, limit: float) -> None:
    said = {
        after: part(health(after, with_pulse(after, name, 0)), name).status for after in (limit, limit + 0.1, 4 * limit, 4 * limit + 0.1)
    }

    assert list(said.values()) == [PartStatus.OK, PartStatus.LATE, PartStatus.LATE, PartStatus.LOST]
    assert health(limit + 0.1, with_pulse(limit + 0.1, name, 0)).status is PlatformStatus.DEGRADED


def test_a_part_that_never_gave_a_sign_is_unknown_and_degrades_the_platform() -> None:
    found = health(100, {})

    unknown = {each.name: each.age for each in found.troubles}
    assert unknown == {"tick": None, "canary:restart": None, "canary:failures": None}
    assert {each.status for each in found.troubles} == {PartStatus.UNKNOWN}
    assert found.status is PlatformStatus.DEGRADED


def test_a_sign_from_before_the_clock_was_set_back_is_late() -> None:
    late = part(health(0, with_pulse(0, "tick", 3600)), "tick")

    assert late.status is PartStatus.LATE
    assert late.message == "the last sign of life is dated 3600 s in the future: the clock was set back"
    assert part(health(0, with_pulse(0, "tick", 30)), "tick").status is PartStatus.OK


def test_a_canary_that_took_too_long_is_late_though_it_came() -> None:
    assert part(health(100, with_pulse(100, "canary:restart", 99, seconds=10.0)), "canary:restart").status is PartStatus.OK

    late = part(health(100, with_pulse(100, "canary:restart", 99, seconds=10.5)), "canary:restart")

    assert late.status is PartStatus.LATE
    assert "limit 10 s" in late.message


def test_a_worker_that_was_stopped_on_purpose_is_not_missed() -> None:
    found = health(500, with_pulse(500, "worker:extra@host", 0, stopped=True))

    assert found.status is PlatformStatus.OK
    assert not [each for each in found.parts if each.name == "worker:extra@host"]


def test_a_worker_that_fell_silent_is_missed_for_an_hour() -> None:
    missed = part(health(3600, with_pulse(3600, "worker:extra@host", 0, queues=["restart", "degrade"])), "worker:extra@host")

    assert missed.status is PartStatus.LOST
    assert missed.message == "silent for 3600 s without having been stopped; it served restart, degrade"
    assert health(3601, with_pulse(3601, "worker:extra@host", 0)).status is PlatformStatus.OK


def test_a_claim_that_ran_out_long_ago_under_a_due_recovery_is_stuck() -> None:
    sick = recovery("shop", due_at=at(10))
    lease = Lease("shop", sick.id, "worker-1", 1, until=at(10))

    assert part(health(40, leases=[lease], recoveries=[sick]), "leases").status is PartStatus.OK

    stuck = part(health(40.1, leases=[lease], recoveries=[sick]), "leases")
    assert stuck.status is PartStatus.LATE
    assert stuck.message == "nobody took over where a worker was lost up to 30 s ago: shop"
    assert stuck.age == pytest.approx(30.1)


def test_a_claim_whose_recovery_is_closed_or_waits_is_not_stuck() -> None:
    waiting = recovery("shop", due_at=at(200))
    lease = Lease("shop", waiting.id, "worker-1", 1, until=at(10))

    assert part(health(100, leases=[lease], recoveries=[waiting]), "leases").status is PartStatus.OK
    assert part(health(100, leases=[lease]), "leases").status is PartStatus.OK


def test_recoveries_that_are_due_and_not_moved_are_named_the_longest_due_first() -> None:
    many = [recovery(f"s{number}", due_at=at(-number)) for number in range(1, 8)]

    assert part(health(8, recoveries=many), "recoveries").status is PartStatus.OK

    late = part(health(60, recoveries=many), "recoveries")
    assert late.status is PartStatus.LATE
    assert late.message == "7 due for up to 67 s and not moved: s7, s6, s5, s4, s3 and 2 more"


def test_a_recovery_that_waits_for_its_time_is_not_overdue() -> None:
    found = part(health(60, recoveries=[recovery(due_at=at(61)), recovery("web", due_at=None)]), "recoveries")

    assert (found.status, found.message) == (PartStatus.OK, "2 open, none overdue")


def test_blind_is_worse_than_degraded() -> None:
    found = health(100, {}, states=seen(shop=0))

    assert found.status is PlatformStatus.BLIND
    assert found.blind == part(found, "sight").message
    assert part(found, "sight").status is PartStatus.LOST
    assert part(found, "sight").limit == 35
    assert part(health(100, states={}), "sight").status is PartStatus.UNKNOWN


def test_a_fleet_without_checks_is_not_blind() -> None:
    assert health(100, states={}, fleet=fleet_of()).status is PlatformStatus.OK


def test_a_listener_outside_that_does_not_answer_is_shown_and_asked_again() -> None:
    fleet = fleet_of(5, ping_url="http://listener.invalid/secret")
    deaf = health(100, with_pulse(100, "ping", 99, ok=False, error="it answered 500"), fleet=fleet)

    assert part(deaf, "ping").message == "the listener did not answer: it answered 500"
    assert part(deaf, "ping").status is PartStatus.LATE
    assert deaf.status is PlatformStatus.OK, "a degraded platform does not ping, so this must not make it so"
    assert part(health(135, with_pulse(135, "ping", 0, ok=True), fleet=fleet), "ping").status is PartStatus.OK
    assert part(health(136, with_pulse(136, "ping", 0, ok=True), fleet=fleet), "ping").status is PartStatus.LATE
    assert part(health(100, fleet=fleet), "ping").status is PartStatus.UNKNOWN


def test_nobody_misses_a_ping_that_was_not_asked_for() -> None:
    assert "ping" not in [each.name for each in health(100).parts]


# --- one check of several ---


def looked(check: str, moment: float, service: str = "shop") -> dict[tuple[str, str], CheckState]:
    return {(service, check): CheckState(service, check, at=at(moment))}


def test_a_slow_check_that_nobody_makes_is_told_although_its_service_is_swept_often() -> None:
    fleet = fleet_of(1, 60)
    told = "nobody looked at 1 of 4 checks for up to 151 s, others are looked at: shop.check-1"

    def sight(now: float, checks: dict[tuple[str, str], CheckState]) -> tuple[PartStatus, str]:
        found = judge_sight(seen(shop=now, web=now), fleet, at(now), checks)
        return found.status, found.message

    assert sight(150, looked("check-0", 150) | looked("check-1", 0))[0] is PartStatus.OK
    assert sight(151, looked("check-0", 151) | looked("check-1", 0)) == (PartStatus.LATE, told)
    assert sight(151, looked("check-0", 151))[0] is PartStatus.OK, "it was only just declared"


def test_a_check_that_is_no_longer_declared_is_not_missed() -> None:
    found = judge_sight(seen(shop=999, web=999), fleet_of(1), at(999), looked("gone", 0) | looked("check-0", 999))

    assert found.status is PartStatus.OK


# --- after a pause ---


def test_what_was_missed_in_a_pause_is_told_for_an_hour() -> None:
    pause = {"until": at(100).isoformat(), "seconds": 60.0, "sweeps": 12}
    told = "no tick came for 60 s until 12:01:40 UTC; sweeps missed meanwhile: 12, none is made up for"

    def missed(now: float) -> str | None:
        return health(now, with_pulse(now, "tick", now - 1, beat="1@host", pause=pause)).missed

    assert missed(101) == missed(3_699) == told
    assert missed(3_701) is None
    assert health(101).missed is None
    assert health(101, with_pulse(101, "tick", 100, pause=pause)).status is PlatformStatus.OK
