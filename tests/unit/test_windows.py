"""Maintenance windows: when they are in force, over weeks, time zones and changes of the clocks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.config.fleet import DAYS, Fleet, MaintenanceDeclaration
from recovery.decide.windows import maintenance
from recovery.models import Silence, SilenceKind

SUNDAY = datetime(2026, 11, 22, tzinfo=UTC)


def fleet(**window: object) -> Fleet:
    declared = MaintenanceDeclaration.model_validate({"name": "night"} | window)
    return Fleet(version="1", maintenance=(declared,))


def in_force(fleet: Fleet, now: datetime) -> list[Silence]:
    return [silence for silence in maintenance(fleet, now) if silence.in_force(now)]


def test_a_single_window_is_in_force_from_its_start_until_just_before_its_end() -> None:
    once = fleet(starts="2026-11-22T02:00:00+01:00", ends="2026-11-22T03:00:00+01:00", services=("shop",), labels={"tier": "web"})
    starts = datetime(2026, 11, 22, 1, tzinfo=UTC)

    (silence,) = maintenance(once, starts - timedelta(days=3))

    assert (silence.since, silence.until, silence.kind) == (starts, starts + timedelta(hours=1), SilenceKind.MAINTENANCE)
    assert (silence.services, silence.labels, silence.author) == (("shop",), {"tier": "web"}, "recovery.toml")
    moments = (starts - timedelta(seconds=1), starts, starts + timedelta(seconds=3599), starts + timedelta(hours=1))
    assert [bool(in_force(once, moment)) for moment in moments] == [False, True, True, False]
    assert maintenance(once, starts + timedelta(hours=1)) == []


def test_a_daily_window_that_is_in_force_is_told_with_the_next_one() -> None:
    daily = fleet(at="23:30", duration=3600)
    now = SUNDAY + timedelta(minutes=10)  # begun on Saturday

    now_in_force, following = maintenance(daily, now)

    assert (now_in_force.since, now_in_force.until) == (SUNDAY - timedelta(minutes=30), SUNDAY + timedelta(minutes=30))
    assert following.since == SUNDAY + timedelta(hours=23, minutes=30)


def test_only_the_named_days_count() -> None:
    weekly = fleet(at="02:00", duration=7200, days=("sun",))

    assert in_force(weekly, SUNDAY + timedelta(hours=3))
    assert not in_force(weekly, SUNDAY + timedelta(days=1, hours=3))
    assert [silence.since for silence in maintenance(weekly, SUNDAY + timedelta(days=1))] == [SUNDAY + timedelta(days=7, hours=2)]


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_an_hour_stays_an_hour_on_the_days_on_which_the_clocks_change(day: datetime) -> None:
    berlin = fleet(at="02:30", duration=3600, timezone="Europe/Berlin")

    found = [silence for silence in maintenance(berlin, day - timedelta(hours=2)) if silence.until and silence.since >= day]

    assert len(found) == 1
    assert found[0].until == found[0].since + timedelta(hours=1)


@given(
    st.integers(0, 23),
    st.integers(60, 7 * 86_400),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),  # noqa: DTZ001 - Hypothesis takes naive bounds and adds the zone
)
def test_a_window_is_in_force_exactly_when_it_began_less_than_its_duration_ago(
    hour: int, length: int, days: set[str], naive: datetime
) -> None:
    now, zone = naive.replace(tzinfo=UTC), ZoneInfo("UTC")
    window = fleet(at=f"{hour:02}:00", duration=length, days=tuple(days))

    began = [
        start
        for back in range(8)
        if (start := datetime.combine((now - timedelta(days=back)).date(), datetime.min.time(), zone) + timedelta(hours=hour)) <= now
        and DAYS[start.weekday()] in days
        and now < start + timedelta(seconds=length)
    ]

    assert sorted(silence.since for silence in in_force(window, now)) == sorted(began)
    assert len([silence for silence in maintenance(window, now) if silence.since > now]) == 1
