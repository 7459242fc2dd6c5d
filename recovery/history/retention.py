"""Forgets in time: bounded batches, each its own short transaction, so that nobody waits for the cleaning."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, Table, delete, exists, func, select

from recovery.store.schema import IS_CLOSED, decisions, events, mitigations, recoveries, samples
from recovery.store.sql.room import Room

BATCH = 500
"""Rows deleted per transaction."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were forgotten."""

    samples: int = 0
    recoveries: int = 0
    """With their failures, attempts and steps."""
    decisions: int = 0
    events: int = 0


class Retention(Room):
    """Deletes what is older than it needs to be. The audit trail is never touched."""

    def prune(self, *, samples_before: datetime, history_before: datetime, batch: int = BATCH) -> Pruned:
        """Delete samples and closed recoveries of before these moments, with the decisions and events that remain of them.

        A recovery whose mitigation is still in place stays, and so do the decisions and events of every recovery that stays.
        """
        in_place = exists().where(mitigations.c.recovery_id == recoveries.c.id)
        told = exists().where(recoveries.c.id == decisions.c.recovery_id)
        heard = exists().where(recoveries.c.id == events.c.recovery_id)
        made = func.coalesce(decisions.c.last_at, decisions.c.at)
        return Pruned(
            samples=self._delete(samples, select(samples.c.id).where(samples.c.at < samples_before), batch),
            recoveries=self._delete(
                recoveries, select(recoveries.c.id).where(recoveries.c.finished_at < history_before, IS_CLOSED, ~in_place), batch
            ),
            decisions=self._delete(
                decisions, select(decisions.c.id).where(decisions.c.at < history_before, made < history_before, ~told), batch
            ),
            events=self._delete(events, select(events.c.id).where(events.c.at < history_before, ~heard), batch),
        )

    def _delete(self, table: Table, old: Select[tuple[object]], batch: int) -> int:
        deleted = 0
        while True:
            with self._writing() as connection:
                ids = list(connection.execute(old.limit(batch)).scalars())
                if ids:
                    connection.execute(delete(table).where(table.c.id.in_(ids)))
            deleted += len(ids)
            if len(ids) < batch:
                return deleted
