"""What the platform does for circuit breakers: keeps their history, and marks those whose service it recovers.

Redis key `recovery:breaker:history`: a stream that the breakers' own scripts write (its fields: `recovery/breaker/lua/circuit.lua`);
consumer group `history`, one consumer per worker. Entries go into the database and are acknowledged after the commit, so each
arrives at least once, and a second time finds its row. The stream keeps its newest entries, for whoever else reads it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from celery.utils.log import get_logger
from redis import Redis

from recovery.breaker.shared import BREAKER_HISTORY
from recovery.errors import ConfigurationError, StoreUnavailable
from recovery.models import BreakerChange, RecoveryState
from recovery.ports import BreakerHistory, Breakers, Store
from workers.streams import DrainStep, Entry, StreamDrain, between_batches

logger = get_logger(__name__)

BATCH = 100
"""Entries per read, and per transaction."""
MARK = 15.0
"""Seconds for which a breaker is marked as under recovery; the tick of every second renews it."""


class CircuitHistory(StreamDrain):
    """Takes entries off the stream and stores them, a batch at a time.

    Args:
        redis: as `StreamDrain` wants it.
        store: where they go.
        consumer: name of this worker within the group.
    """

    stream, group, batch, what = BREAKER_HISTORY, "history", BATCH, "changes of breakers"

    def __init__(self, redis: Redis, store: BreakerHistory, consumer: str) -> None:
        super().__init__(redis, consumer)
        self._store = store

    def take(self, entries: list[Entry]) -> int:
        """Store the changes that entries tell of and acknowledge them; return how many entries."""
        changes = [change for entry_id, fields in entries if fields and (change := change_of(entry_id, fields)) is not None]
        with between_batches:
            self._record(changes)
        if entries:
            self._redis.xack(self.stream, self.group, *(entry_id for entry_id, _ in entries))
        return len(entries)

    def _record(self, changes: list[BreakerChange]) -> None:
        try:
            self._store.record_changes(changes)
        except (StoreUnavailable, ConfigurationError):
            raise  # with a database they may be stored later
        except Exception:
            logger.exception("%d changes of breakers could not be stored as a whole, so each is tried by itself", len(changes))
            for change in changes:
                self._record_one(change)

    def _record_one(self, change: BreakerChange) -> None:
        try:
            self._store.record_changes([change])
        except (StoreUnavailable, ConfigurationError):
            raise
        except Exception:
            logger.exception("a change of breaker '%s' cannot be stored and is left out: %r", change.breaker, change)


def change_of(entry_id: bytes, fields: Mapping[bytes, bytes]) -> BreakerChange | None:
    """Return the change that an entry tells of; None, and a line in the log, if it is no such entry."""
    told = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
    try:
        return BreakerChange(
            stream_id=entry_id.decode(),
            breaker=told["name"][:100],
            service=told["service"][:100] or told["name"][:100],
            at=datetime.fromtimestamp(int(told["at"]) / 1000, UTC),
            before=told["from"][:32],
            after=told["to"][:32],
            reason=told["reason"],
            trips=int(told["trips"]),
            streak=int(told["streak"]),
            by=told["by"],
        )
    except (KeyError, ValueError, OverflowError, OSError) as error:
        logger.warning("entry %r of %s tells of no change of a breaker: %r", entry_id, BREAKER_HISTORY, error)
        return None


def mark_repairs(breakers: Breakers, store: Store) -> list[str]:
    """Mark the open breakers of services whose recovery is in progress, take the mark from all others; return who bears it.

    Raises `StoreUnavailable` if Redis or the database is away; the marks then pass by themselves.
    """
    recovered = {each.service for each in store.open_recoveries() if each.state is RecoveryState.IN_PROGRESS}
    return breakers.repair(recovered, MARK)


class CircuitHistoryDrain(DrainStep):
    """Run a `CircuitHistory` in every worker that consumes the queue `failures`."""

    def drain(self, consumer: str) -> StreamDrain:
        """Return the drain over the platform's parts."""
        from workers.wiring import platform

        return CircuitHistory(platform().redis, platform().store, consumer)
