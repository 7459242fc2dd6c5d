"""Forgets in time: bounded batches, each its own short transaction, so that nobody waits for the cleaning."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, Table, delete, exists, func, or_, select

from recovery.store.refusals import ACTION
from recovery.store.schema import (
    IS_CLOSED,
    audit,
    bases,
    breaker_changes,
    decisions,
    events,
    failures,
    mitigations,
    recoveries,
    samples,
    silences,
)
from recovery.store.sql.room import Room

BATCH = 500
"""Rows deleted per transaction."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows were forgotten."""

    samples: int = 0
    recoveries: int = 0
    """With their attempts, steps and approvals."""
    failures: int = 0
    decisions: int = 0
    events: int = 0
    bases: int = 0
    silences: int = 0
    breaker_changes: int = 0
    refused: int = 0
    """Rows of the audit trail about refused reports. What people did stays in it for good."""


class Retention(Room):
    """Deletes what is older than it needs to be."""

    def prune(self, *, samples_before: datetime, history_before: datetime, batch: int = BATCH) -> Pruned:
        """Delete samples and closed recoveries of before these moments, with the decisions and events that remain of them.

        A recovery whose mitigation is still in place stays, and so do the decisions and events of every recovery that stays.
        Also deleted: what decisions rested on, silences that ended, and refused reports, all of before `history_before`.
        """
        told = exists().where(recoveries.c.id == decisions.c.recovery_id)
        heard = exists().where(recoveries.c.id == events.c.recovery_id)
        made = func.coalesce(decisions.c.last_at, decisions.c.at)
        ended = or_(silences.c.until < history_before, silences.c.lifted_at < history_before)
        refused = select(audit.c.id).where(audit.c.at < history_before, audit.c.action == ACTION)
        closed, reported = self._delete_recoveries(history_before, batch)
        return Pruned(
            samples=self._delete(samples, select(samples.c.id).where(samples.c.at < samples_before), batch),
            recoveries=closed,
            failures=reported,
            decisions=self._delete(
                decisions, select(decisions.c.id).where(decisions.c.at < history_before, made < history_before, ~told), batch
            ),
            events=self._delete(events, select(events.c.id).where(events.c.at < history_before, ~heard), batch),
            bases=self._delete(bases, select(bases.c.id).where(bases.c.at < history_before), batch),
            silences=self._delete(silences, select(silences.c.id).where(ended), batch),
            breaker_changes=self._delete(breaker_changes, select(breaker_changes.c.id).where(breaker_changes.c.at < history_before), batch),
            refused=self._delete(audit, refused, batch),
        )

    def _delete_recoveries(self, before: datetime, batch: int) -> tuple[int, int]:
        """Delete closed recoveries, their failures first: one recovery of a storm has a hundred thousand."""
        in_place = exists().where(mitigations.c.recovery_id == recoveries.c.id)
        old = select(recoveries.c.id).where(recoveries.c.finished_at < before, IS_CLOSED, ~in_place)
        closed = reported = 0
        while ids := self._ids(old, batch):
            reported += self._delete(failures, select(failures.c.id).where(failures.c.recovery_id.in_(ids)), batch)
            self._delete_these(recoveries, ids)
            closed += len(ids)
        return closed, reported

    def _delete(self, table: Table, old: Select[Any], batch: int) -> int:
        deleted = 0
        while ids := self._ids(old, batch):
            self._delete_these(table, ids)
            deleted += len(ids)
        return deleted

    def _ids(self, old: Select[Any], batch: int) -> list[Any]:
        """Look for old rows without keeping anybody from writing."""
        with self._asking() as connection:
            return list(connection.execute(old.limit(batch)).scalars())

    def _delete_these(self, table: Table, ids: list[Any]) -> None:
        with self._composing() as connection:
            connection.execute(delete(table).where(table.c.id.in_(ids)))
