"""Beat's schedule, made from the declared fleet and kept in memory: it follows `recovery.toml` while beat runs.

Several beats may run; the one that leads sends, see `workers/leadership.py`.
"""

import os
import secrets
import socket
import time
from datetime import timedelta
from typing import Any

from celery.beat import ScheduleEntry, Scheduler, SchedulingError
from celery.utils.log import get_logger

from recovery.config.fleet import Fleet
from recovery.errors import ConfigurationError
from recovery.models import utcnow
from recovery.ports import Leadership
from recovery.settings import Settings
from recovery.store.sql import SqlStore
from workers.crowds import crowded
from workers.leadership import Candidate
from workers.locate import beside
from workers.wiring import fleet_source

logger = get_logger(__name__)

LOOK_EVERY = 1.0
"""Seconds between two looks at `recovery.toml`."""
LONG_AGO = timedelta(days=31)
"""Older than any interval: what is new in the schedule and must not wait is due at once."""
CANARY = "maintenance.canary"
AT_ONCE = {"health.sweep", CANARY}
COUNT_EVERY = 20.0
"""Seconds for which a count of what waits in the queues holds; canaries are due in one go, every 30."""
STAND_BY = 0.25
"""Seconds between two looks whether this beat leads by now."""
HOLDER = "RECOVERY_BEAT_HOLDER"
"""Under which name beat asks for the lead: set by `recovery up`, which lets only one beat of its folder live, so that the next
one goes on at once where a killed one stopped. By hand it is a new name for each process."""


class FleetScheduler(Scheduler):
    """Send what `beat_schedule.py` says for the fleet in force, as long as this beat leads.

    Nothing is stored: a sweep missed while beat was down is not replayed. Without the database nobody can lead for longer
    than a lease; nothing is lost by that, because neither a sweep nor a recovery could be recorded meanwhile.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._source = fleet_source(Settings())
        self._version: str | None = None
        self._complaint = ""
        self._look_at = 0.0
        self._outage = False
        self._counted_at = float("-inf")
        self._crowded: frozenset[str] = frozenset()
        self._candidate = Candidate(self._leadership(), "beat", _holder())
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Take the schedule of the fleet in force; without a valid one, of the housekeeping alone."""
        self._follow(self._fleet())

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Follow a changed `recovery.toml`, then send what is due if this beat leads; return the seconds until the next call."""
        self._candidate.start()
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_EVERY
            fleet = self._fleet()
            if fleet is not None and fleet.version != self._version:
                self._follow(fleet)
        if not self._candidate.leads():  # asked before each message: this process may have been frozen since the last
            return STAND_BY
        delay: float = super().tick(*args, **kwargs)
        return delay

    def close(self) -> None:
        """Let the next beat lead at once."""
        self._candidate.resign()
        super().close()

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send what is due; an outage of the broker is told once, when it begins and when it ends."""
        if entry.task == CANARY and entry.options["queue"] in self._crowds():
            return
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

    def _crowds(self) -> frozenset[str]:
        now = time.monotonic()
        if now >= self._counted_at + COUNT_EVERY:
            self._counted_at = now
            self._crowded = crowded(self.app, beside("celeryconfig").QUEUES)
        return self._crowded

    def _leadership(self) -> Leadership:
        return SqlStore.open(Settings().database)

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
            if entries[name]["task"] in AT_ONCE:
                entries[name] = entries[name] | {"last_run_at": utcnow() - LONG_AGO}
        self.merge_inplace(entries)
        self._heap = None  # made again from the new entries at the next tick
        if fleet is not None:
            self._version = fleet.version
            logger.info("watching %d services by version %s of the configuration", len(fleet.services), fleet.version)


def _holder() -> str:
    name = os.environ.get(HOLDER) or f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    return name[-200:]  # what its column holds
