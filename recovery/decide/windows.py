"""Maintenance windows declared in `recovery.toml`, as the silences that they are: those in force and the next to come. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from recovery.config.fleet import DAYS, Fleet, MaintenanceDeclaration
from recovery.models import Silence, SilenceKind

LONGEST_WAIT = timedelta(days=8)
"""A weekly window begins again within this time, whatever summer time does."""


def maintenance(fleet: Fleet, now: datetime) -> list[Silence]:
    """Return for each declared window the time it is in force at `now`, if any, and the next to come; by their start."""
    found: list[Silence] = []
    for window in fleet.maintenance:
        ahead = [_silence(window, starts, ends) for starts, ends in _times(window, now) if ends > now]
        in_force = [silence for silence in ahead if silence.since <= now]
        found += in_force
        found += [silence for silence in ahead if silence.since > now][:1]
    return sorted(found, key=lambda silence: (silence.since, silence.id))


def _times(window: MaintenanceDeclaration, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield start and end of every time the window holds from a week ago to a week ahead, in order."""
    if window.starts and window.ends:
        yield window.starts.astimezone(UTC), window.ends.astimezone(UTC)
    if window.at is None or window.duration is None:
        return
    zone, length = ZoneInfo(window.timezone), timedelta(seconds=window.duration)
    day = (now - LONGEST_WAIT).astimezone(zone).date()
    while day <= (now + LONGEST_WAIT).astimezone(zone).date():
        if DAYS[day.weekday()] in window.days:
            starts = datetime.combine(day, window.at, tzinfo=zone).astimezone(UTC)
            yield starts, starts + length  # the length is real time: an hour stays an hour when the clocks change
        day += timedelta(days=1)


def _silence(window: MaintenanceDeclaration, starts: datetime, ends: datetime) -> Silence:
    return Silence(
        id=f"{window.name}@{starts:%Y-%m-%dT%H:%MZ}",
        kind=SilenceKind.MAINTENANCE,
        since=starts,
        until=ends,
        author="recovery.toml",
        reason=window.reason or f"maintenance window '{window.name}'",
        created_at=starts,
        services=window.services,
        labels=window.labels,
    )
