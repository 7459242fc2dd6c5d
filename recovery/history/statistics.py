"""Counts, rates and durations over a period, with their denominators."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sqlalchemy import Connection, and_, bindparam, exists, func, select

from recovery.history.figures import Availability, Held, MeanTime, Rate, ServiceFigures, Spread, Stats, StrategyFigures
from recovery.models import Action, Choice, Kind, Outcome, RecoveryState
from recovery.store.schema import HAS_SUCCEEDED, IS_OPEN, attempts, decisions, recoveries, samples
from recovery.store.sql.room import Room

SUCCESS = (Outcome.RESOLVED, Outcome.MITIGATED)
RUNS_REMEMBERED = 20
"""How many of the last successful runs an estimate looks at."""

_ANY_RUN = attempts.alias("any_run")
_ACTED = exists().where(_ANY_RUN.c.recovery_id == recoveries.c.id, _ANY_RUN.c.runs > 0)
_EARLIER = recoveries.alias("earlier")
_KNOWN_BEFORE = exists().where(
    _EARLIER.c.service == recoveries.c.service,
    _EARLIER.c.created_at < recoveries.c.created_at,
    _EARLIER.c.first_evidence_at >= recoveries.c.first_evidence_at,
    _EARLIER.c.kind != Kind.SCHEDULED,
    _EARLIER.c.dry_run.is_(False),
)
"""An earlier recovery answered the same outage: this one says nothing about how soon it was detected."""
_CLOSED = (
    select(
        recoveries.c.service,
        recoveries.c.kind,
        recoveries.c.state,
        recoveries.c.outcome,
        recoveries.c.dry_run,
        recoveries.c.first_evidence_at,
        recoveries.c.created_at,
        recoveries.c.finished_at,
        attempts.c.strategy,
        _ACTED.label("acted"),
        _KNOWN_BEFORE.label("known_before"),
    )
    .join_from(
        recoveries, attempts, and_(attempts.c.recovery_id == recoveries.c.id, attempts.c.number == recoveries.c.attempt), isouter=True
    )
    .where(recoveries.c.finished_at >= bindparam("since"), recoveries.c.finished_at <= bindparam("until"))
)
_RUNS = select(attempts.c.strategy, attempts.c.outcome, attempts.c.started_at, attempts.c.finished_at).where(
    attempts.c.finished_at >= bindparam("since"),
    attempts.c.finished_at <= bindparam("until"),
    attempts.c.runs > 0,
    attempts.c.action == Action.APPLY,
)
_LAST_RUNS = (
    select(attempts.c.started_at, attempts.c.finished_at)
    .where(
        attempts.c.service == bindparam("of"),
        attempts.c.strategy == bindparam("by"),
        attempts.c.action == Action.APPLY,
        attempts.c.outcome.in_(SUCCESS),
        attempts.c.started_at.is_not(None),
        attempts.c.finished_at.is_not(None),
    )
    .order_by(attempts.c.created_at.desc())
    .limit(RUNS_REMEMBERED)
)
_HELD = (
    select(decisions.c.choice, decisions.c.guard, func.sum(1 + decisions.c.repeats))
    .where(decisions.c.at >= bindparam("since"), decisions.c.at <= bindparam("until"), decisions.c.choice.not_in([Choice.ACT]))
    .group_by(decisions.c.choice, decisions.c.guard)
)
_SECONDS = recoveries.c.recovery_seconds
_MEAN_TIMES = (
    select(recoveries.c.service, func.count(), func.avg(_SECONDS), func.max(_SECONDS))
    .where(
        HAS_SUCCEEDED,
        recoveries.c.finished_at >= bindparam("since"),
        recoveries.c.finished_at <= bindparam("until"),
        recoveries.c.outcome.in_(SUCCESS),
        recoveries.c.kind != Kind.SCHEDULED,
        recoveries.c.dry_run.is_(False),
    )
    .group_by(recoveries.c.service)
    .order_by(recoveries.c.service)
)
_SEEN = (
    select(samples.c.service, func.count(), func.count().filter(samples.c.ok))
    .where(samples.c.at >= bindparam("since"), samples.c.at <= bindparam("until"))
    .group_by(samples.c.service)
    .order_by(samples.c.service)
)


@dataclass(frozen=True, slots=True)
class Closed:
    """What the statistics need to know about one closed recovery."""

    service: str
    kind: Kind
    state: RecoveryState
    outcome: Outcome | None
    dry_run: bool
    first_evidence_at: datetime
    created_at: datetime
    finished_at: datetime
    strategy: str | None
    acted: bool
    known_before: bool

    @property
    def succeeded(self) -> bool:
        """Say whether it ended verified."""
        return self.state is RecoveryState.SUCCEEDED and self.outcome in SUCCESS

    @property
    def gave_up(self) -> bool:
        """Say whether it failed without anything having been done."""
        return self.state is RecoveryState.FAILED and not self.acted

    @property
    def ending(self) -> str:
        """The outcome, or the state where nothing was achieved."""
        cut_short = self.state in {RecoveryState.CANCELLED, RecoveryState.SUPPRESSED}
        return str(self.state if cut_short or self.outcome is None else self.outcome)


@dataclass(frozen=True, slots=True)
class Run:
    """What the statistics need to know about one finished run of a strategy."""

    strategy: str
    outcome: Outcome | None
    started_at: datetime | None
    finished_at: datetime

    @property
    def seconds(self) -> float | None:
        """How long it took; None if it never began."""
        return (self.finished_at - self.started_at).total_seconds() if self.started_at else None

    @property
    def succeeded(self) -> bool:
        """Say whether it was verified."""
        return self.outcome in SUCCESS


class Statistics(Room):
    """Questions about how well it goes."""

    def stats(self, since: datetime, until: datetime) -> Stats:
        """Return the figures of the recoveries that closed from `since` to `until`."""
        period = {"since": since, "until": until}
        with self._asking() as connection:
            rows = [Closed(*row) for row in connection.execute(_CLOSED, period)]
            runs = connection.execute(_RUNS, period).all()
            held = [Held(str(choice), guard, int(times)) for choice, guard, times in connection.execute(_HELD, period)]
            open_now = connection.execute(select(func.count()).select_from(recoveries).where(IS_OPEN)).scalar() or 0
            seen = {row.service: row.passed for row in _availability(connection, since, until)}
        real = [row for row in rows if not row.dry_run and row.kind is not Kind.SCHEDULED]
        names = sorted({row.service for row in real} | set(seen))
        return Stats(
            since=since,
            until=until,
            open_now=open_now,
            outcomes=dict(Counter(row.ending for row in real).most_common()),
            success=_success(real),
            gave_up=Rate(sum(row.gave_up for row in real), len(real)),
            detection=_detection(real),
            recovery=_recovery(real),
            suppressed=_suppressed(real),
            restores=sum(row.kind is Kind.SCHEDULED and not row.dry_run for row in rows),
            dry_runs=sum(row.dry_run for row in rows),
            held=tuple(sorted(held, key=lambda row: (-row.times, row.choice, row.guard))),
            services=tuple(_service(name, [row for row in real if row.service == name], seen.get(name)) for name in names),
            strategies=_strategies([Run(*row) for row in runs], real),
        )

    def availability(self, since: datetime, until: datetime) -> list[Availability]:
        """Return the share of samples that passed from `since` to `until`, by service; only as far back as samples are kept."""
        with self._asking() as connection:
            return _availability(connection, since, until)

    def mean_times(self, since: datetime, until: datetime) -> list[MeanTime]:
        """Return the MTTR of each service over the recoveries that succeeded from `since` to `until`; no dry runs, no restores.

        Answered from one index alone: 20 ms for a day among a million recoveries.
        """
        with self._asking() as connection:
            return [MeanTime(*row) for row in connection.execute(_MEAN_TIMES, {"since": since, "until": until})]

    def typical_seconds(self, service: str, strategy: str) -> float | None:
        """Return the median seconds of the last 20 successful runs of `strategy` on `service`, None before the first."""
        with self._asking() as connection:
            runs = connection.execute(_LAST_RUNS, {"of": service, "by": strategy}).all()
        return median((ended - began).total_seconds() for began, ended in runs) if runs else None


def _availability(connection: Connection, since: datetime, until: datetime) -> list[Availability]:
    rows = connection.execute(_SEEN, {"since": since, "until": until})
    return [Availability(service, Rate(passed, total)) for service, total, passed in rows]


def _success(rows: Iterable[Closed]) -> Rate:
    acted = [row for row in rows if row.acted]
    return Rate(sum(row.succeeded for row in acted), len(acted))


def _detection(rows: Iterable[Closed]) -> Spread | None:
    return Spread.of([(row.created_at - row.first_evidence_at).total_seconds() for row in rows if not row.known_before])


def _recovery(rows: Iterable[Closed]) -> Spread | None:
    return Spread.of([(row.finished_at - row.first_evidence_at).total_seconds() for row in rows if row.succeeded])


def _suppressed(rows: Iterable[Closed]) -> int:
    return sum(row.state is RecoveryState.SUPPRESSED for row in rows)


def _service(name: str, rows: list[Closed], availability: Rate | None) -> ServiceFigures:
    return ServiceFigures(name, len(rows), _success(rows), _detection(rows), _recovery(rows), _suppressed(rows), availability)


def _strategies(runs: list[Run], rows: list[Closed]) -> tuple[StrategyFigures, ...]:
    figures = []
    for name in sorted({run.strategy for run in runs}):
        mine = [run for run in runs if run.strategy == name]
        took = [run.seconds for run in mine if run.succeeded and run.seconds is not None]
        ended = [row for row in rows if row.strategy == name]
        figures.append(StrategyFigures(name, Rate(sum(run.succeeded for run in mine), len(mine)), Spread.of(took), _recovery(ended)))
    return tuple(figures)
