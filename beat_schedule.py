"""What beat sends and when: a sweep per check interval and shard, and a few housekeeping tasks. Tasks are named as strings."""

import time
from typing import TypedDict

from celery.beat import BeatLazyFunc
from celery.schedules import crontab, schedule

from recovery.config.fleet import Fleet
from recovery.watch.signs import CANARY_EVERY
from workers.locate import beside


class Entry(TypedDict, total=False):
    """One line of the schedule, as Celery wants it."""

    task: str
    schedule: schedule | crontab | float
    kwargs: dict[str, object]
    options: dict[str, object]


HOUSEKEEPING: dict[str, Entry] = {
    # the reaper: due timers, expired leases, messages that never arrived; a tick that waited longer is of no use
    "tick": {"task": "maintenance.tick", "schedule": 1.0, "options": {"queue": "maintenance", "expires": 2}},
    "prune": {"task": "maintenance.prune", "schedule": 3600.0, "options": {"queue": "maintenance", "expires": 3600}},
    # Celery's own: results older than `result_expires`
    "celery.backend_cleanup": {
        "task": "celery.backend_cleanup",
        "schedule": crontab(minute="0", hour="4"),
        "options": {"queue": "maintenance", "expires": 12 * 3600},
    },
}


def entries(fleet: Fleet | None) -> dict[str, Entry]:
    """Return the schedule for `fleet`; without one, the housekeeping and the canaries alone."""
    return HOUSEKEEPING | canaries() | (ping(fleet) | sweeps(fleet) if fleet else {})


def canaries() -> dict[str, Entry]:
    """Return one canary per queue; one that waited longer than their interval is dropped."""
    return {
        f"canary through {queue}": {
            "task": "maintenance.canary",
            "schedule": CANARY_EVERY,
            "kwargs": {"queue": queue, "sent_at": BeatLazyFunc(time.time)},
            "options": {"queue": queue, "expires": CANARY_EVERY},
        }
        for queue in beside("celeryconfig").QUEUES
    }


def ping(fleet: Fleet) -> dict[str, Entry]:
    """Return the ping to whoever listens outside, if `ping_url` names somebody; the URL itself goes into no message."""
    if fleet.platform.ping_url is None:
        return {}
    every = fleet.platform.ping_every
    return {"ping": {"task": "alerts.ping", "schedule": every, "options": {"queue": "alerts", "expires": every}}}


def sweeps(fleet: Fleet) -> dict[str, Entry]:
    """Return one sweep per interval that some check uses and per shard; a late one is dropped, not replayed."""
    shards = fleet.platform.shards
    return {
        f"sweep every {interval:g} s, shard {shard + 1} of {shards}": {
            "task": "health.sweep",
            "schedule": interval,
            "kwargs": {"interval": interval, "shard": shard, "shards": shards},
            "options": {"queue": "health", "expires": interval},
        }
        for interval in fleet.intervals()
        for shard in range(shards)
    }
