"""Beat's schedule, made from the declared fleet and kept in memory: it follows `recovery.toml` while beat runs."""

import time
from datetime import timedelta
from typing import Any

from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from celery.utils.log import get_logger

from recovery.config.fleet import Fleet
from recovery.errors import ConfigurationError
from recovery.models import utcnow
from recovery.settings import Settings
from workers.locate import beside
from workers.wiring import fleet_source

logger = get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at `recovery.toml`."""
LONG_AGO = timedelta(days=31)
"""Older than any interval: a sweep that is new in the schedule is due at once."""


class FleetScheduler(Scheduler):
    """Send what `beat_schedule.py` says for the fleet in force. Nothing is stored: a sweep missed while beat was down is not replayed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._source = fleet_source(Settings())
        self._version: str | None = None
        self._complaint = ""
        self._look_at = 0.0
        self._outage = False
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Take the schedule of the fleet in force; without a valid one, of the housekeeping alone."""
        self._follow(self._fleet())

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Follow a changed `recovery.toml`, then send what is due; return the seconds until the next call."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            fleet = self._fleet()
            if fleet is not None and fleet.version != self._version:
                self._follow(fleet)
        delay: float = super().tick(*args, **kwargs)
        return delay

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send what is due; an outage of the broker is told once, when it begins and when it ends."""
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            if not self._outage:
                logger.warning("nothing can be sent, missed sweeps are not replayed: %s", error)
            self._outage = True
        else:
            if self._outage:
                logger.info("the broker is back")
            self._outage = False

    def _fleet(self) -> Fleet | None:
        try:
            fleet = self._source.current()
        except ConfigurationError as error:
            if error.message != self._complaint:
                self._complaint = error.message
                logger.error("no service is watched until this is mended: %s", error.message)  # noqa: TRY400 - the sentence says it all
            return None
        self._complaint = ""
        return fleet

    def _follow(self, fleet: Fleet | None) -> None:
        entries: dict[str, dict[str, Any]] = beside("beat_schedule").entries(fleet)
        for name in entries.keys() - self.data.keys():
            if entries[name]["task"] == "health.sweep":
                entries[name] = entries[name] | {"last_run_at": utcnow() - LONG_AGO}
        self.merge_inplace(entries)
        self._heap = None  # made again from the new entries at the next tick
        if fleet is not None:
            self._version = fleet.version
            logger.info("watching %d services by version %s of the configuration", len(fleet.services), fleet.version)
