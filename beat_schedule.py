"""What beat sends and when: a sweep per check interval and shard, and a few housekeeping tasks. Tasks are named as strings."""

from typing import TypedDict

from celery.schedules import crontab, schedule

from recovery.config.fleet import Fleet


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
    """Return the schedule for `fleet`; without one, the housekeeping alone."""
    return HOUSEKEEPING | (sweeps(fleet) if fleet else {})


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
