"""Overviews and stories: what is, what was, and why."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import bindparam, func, select

from recovery.history.views import NotedDecision, NotedEvent, RefusedReport, ServiceOverview, Story
from recovery.models import Decision, Event, Failure, Mitigation, Outcome, Recovery, RecoveryState, ServiceState
from recovery.store.refusals import ACTION
from recovery.store.schema import audit, decisions, events, failures, recoveries
from recovery.store.sql import SqlStore
from recovery.store.sql.intake import failure_of
from recovery.store.sql.room import Room, columns_of, load, load_all

_RECOVERIES = select(*columns_of(Recovery, recoveries)).order_by(recoveries.c.created_at.desc(), recoveries.c.id)
_FAILURES = select(failures).where(failures.c.recovery_id == bindparam("of")).order_by(failures.c.id)
_DECISIONS = select(decisions.c.id, decisions.c.repeats, decisions.c.last_at, *columns_of(Decision, decisions))
_REFUSED = select(audit.c.at, audit.c.actor, audit.c.detail).where(audit.c.action == ACTION).order_by(audit.c.id.desc())
_EVENTS = select(events.c.id, *columns_of(Event, events)).order_by(events.c.id)


@cache
def _recoveries(filters: frozenset[str]) -> Any:
    """Return the question for recoveries by these filters, made once."""
    conditions = {name: recoveries.c[name] == bindparam(name) for name in ("service", "outcome", "state")}
    conditions["since"] = recoveries.c.created_at >= bindparam("since")
    return _RECOVERIES.where(*(conditions[name] for name in sorted(filters))).limit(bindparam("at_most"))


class Stories(Room):
    """Questions about services and recoveries."""

    def services(self) -> list[ServiceOverview]:
        """Return every service that was ever seen or recovered, by name."""
        store = SqlStore(self._engine)
        states, mitigations = store.service_states(), store.mitigations()
        current = {row.service: row for row in store.open_recoveries()}
        in_place: dict[str, list[Mitigation]] = {}
        for mitigation in mitigations:
            in_place.setdefault(mitigation.service, []).append(mitigation)
        return [
            ServiceOverview(name, states.get(name, ServiceState(name)), current.get(name), tuple(in_place.get(name, ())))
            for name in sorted({*states, *current, *in_place})
        ]

    def recoveries(
        self,
        *,
        service: str | None = None,
        outcome: Outcome | None = None,
        state: RecoveryState | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[Recovery]:
        """Return recoveries that match every given filter, newest first.

        Args:
            service: of this service.
            outcome: closed with this outcome.
            state: in this state now.
            since: created at or after this moment.
            limit: at most so many.
        """
        wanted = {"service": service, "outcome": outcome, "state": state, "since": since}
        given = {name: value for name, value in wanted.items() if value is not None}
        with self._reading() as connection:
            return load_all(Recovery, connection.execute(_recoveries(frozenset(given)), {**given, "at_most": limit}))

    def story(self, recovery_id: str) -> Story | None:
        """Return everything about one recovery, by id or unique prefix; None if there is none."""
        store = SqlStore(self._engine)
        recovery = store.recovery(recovery_id)
        if recovery is None:
            return None
        of = {"of": recovery.id}
        with self._asking() as connection:
            reports = tuple(failure_of(row) for row in connection.execute(_FAILURES, of).mappings())
            happened = tuple(_event(row) for row in connection.execute(_EVENTS.where(events.c.recovery_id == recovery.id)))
            query = _DECISIONS.where(decisions.c.recovery_id == recovery.id).order_by(decisions.c.id)
            decided = tuple(_decision(row) for row in connection.execute(query))
        return Story(recovery, reports, tuple(store.attempts(recovery.id)), tuple(store.steps(recovery.id)), decided, happened)

    def failures(self, recovery_id: str) -> list[Failure]:
        """Return the reports that were merged into one recovery, oldest first."""
        with self._asking() as connection:
            return [failure_of(row) for row in connection.execute(_FAILURES, {"of": recovery_id}).mappings()]

    def decisions(self, service: str, limit: int = 20) -> list[NotedDecision]:
        """Return why the platform acted on `service` or did not, newest first."""
        query = _DECISIONS.where(decisions.c.service == service).order_by(decisions.c.id.desc()).limit(limit)
        with self._asking() as connection:
            return [_decision(row) for row in connection.execute(query)]

    def refused_reports(self, *, since: datetime | None = None, limit: int = 50) -> list[RefusedReport]:
        """Return the reports that were refused at or after `since`, newest first, at most `limit`."""
        query = _REFUSED.limit(limit) if since is None else _REFUSED.where(audit.c.at >= since).limit(limit)
        with self._asking() as connection:
            return [_refused(at, actor, detail) for at, actor, detail in connection.execute(query)]

    def last_event_id(self) -> int:
        """Return the number of the newest event, 0 before the first: where `events_after` starts to watch."""
        with self._asking() as connection:
            return connection.execute(select(func.max(events.c.id))).scalar() or 0

    def events_after(self, event_id: int, limit: int = 200) -> list[NotedEvent]:
        """Return the events after `event_id`, oldest first.

        PostgreSQL numbers events when they are written, not when they are committed: of two transactions at the same
        instant, the later to commit may be passed over. Stories and statistics miss nothing.
        """
        with self._asking() as connection:
            return [_event(row) for row in connection.execute(_EVENTS.where(events.c.id > event_id).limit(limit))]


def _decision(row: Sequence[Any]) -> NotedDecision:
    number, repeats, last_at = row[:3]
    return NotedDecision(number, load(Decision, row[3:]), repeats, last_at)


def _refused(at: datetime, actor: str, detail: Mapping[str, object]) -> RefusedReport:
    code, reason, service = (str(detail.get(key, "")) for key in ("code", "reason", "service"))
    times = detail.get("times", 1)
    return RefusedReport(at, actor, code, reason, service, times if isinstance(times, int) else 1)


def _event(row: Sequence[Any]) -> NotedEvent:
    return NotedEvent(row[0], load(Event, row[1:]))
