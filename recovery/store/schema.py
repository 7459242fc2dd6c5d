"""The tables. Columns bear the names of the fields they keep; the migrations alone create them.

Decisions, events, leases and the audit trail refer to recoveries without a foreign key: they may speak of what was pruned.
"""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    text,
)
from sqlalchemy import Identity as SqlIdentity

from recovery.models import (
    OPEN_STATES,
    Action,
    Answer,
    AttemptState,
    Category,
    Choice,
    FailureType,
    Kind,
    Outcome,
    RecoveryState,
    Severity,
    SilenceKind,
    Status,
    StepState,
)
from recovery.store.types import Json, PlanJson, Prose, Utc, Word

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_OPEN = ", ".join(repr(str(state)) for state in sorted(OPEN_STATES))
IS_OPEN = text(f"state IN ({_OPEN})")
"""The condition of the partial indexes; the invariant `at most one open recovery per service` hangs on it.

Literal text, because a planner uses a partial index only where it can prove that the query implies its condition.
"""
IS_CLOSED = text(f"state NOT IN ({_OPEN})")
HAS_SUCCEEDED = text(f"state = '{RecoveryState.SUCCEEDED}'")
"""The condition of the index that answers for mean times to recovery without a look at the table."""

NAME = String(100)
ID = String(64)


def _serial() -> "Column[int]":
    return Column("id", BigInteger().with_variant(Integer, "sqlite"), SqlIdentity(), primary_key=True)


def _word(name: str, enum: type[StrEnum], *, nullable: bool = False) -> "Column[StrEnum]":
    return Column(name, Word(enum), nullable=nullable)


recoveries = Table(
    "recoveries",
    metadata,
    Column("id", ID, primary_key=True),
    Column("service", NAME, nullable=False),
    Column("fingerprint", ID, nullable=False),
    _word("category", Category),
    _word("severity", Severity),
    _word("kind", Kind),
    _word("state", RecoveryState),
    Column("plan", PlanJson, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("first_evidence_at", Utc, nullable=False),
    _word("outcome", Outcome, nullable=True),
    Column("attempt", Integer, nullable=False),
    Column("due_at", Utc),
    Column("started_at", Utc),
    Column("finished_at", Utc),
    Column("failure_id", ID),
    Column("failures", Integer, nullable=False),
    Column("last_failure_at", Utc),
    Column("message", Prose, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("quiet_until", Utc),
    Column("held_by", String(32), nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("force", Boolean, nullable=False),
    Column("config_version", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("touched_at", Utc),
    Column("recovery_seconds", Float),
    Index("uq_recoveries_open_service", "service", unique=True, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
    Index("ix_recoveries_open_due_at", "due_at", "touched_at", sqlite_where=IS_OPEN, postgresql_where=IS_OPEN),
    Index("ix_recoveries_service_created_at", "service", "created_at"),
    Index("ix_recoveries_created_at", "created_at"),
    Index("ix_recoveries_started_at", "started_at"),
    Index("ix_recoveries_quiet_until", "quiet_until"),
    Index(
        "ix_recoveries_succeeded",
        "finished_at",
        "service",
        "outcome",
        "kind",
        "dry_run",
        "recovery_seconds",
        "state",  # in the condition already, but SQLite calls an index covering only if it has every column that a query names
        sqlite_where=HAS_SUCCEEDED,
        postgresql_where=HAS_SUCCEEDED,
    ),
)

failures = Table(
    "failures",
    metadata,
    _serial(),
    Column("recovery_id", ID, ForeignKey("recoveries.id", ondelete="CASCADE"), nullable=False),
    Column("failure_id", ID, nullable=False, unique=True),
    Column("service", NAME, nullable=False),
    _word("category", Category),
    _word("type", FailureType),
    _word("severity", Severity),
    Column("message", Prose, nullable=False),
    Column("source", Prose, nullable=False),
    Column("occurred_at", Utc, nullable=False),
    Column("details", Json, nullable=False),
    Column("stack", Prose),
    Column("recoverable", Boolean, nullable=False),
    Column("fingerprint", ID, nullable=False),
    Column("labels", Json, nullable=False),
    Index("ix_failures_recovery_id_id", "recovery_id", "id"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("recovery_id", ID, ForeignKey("recoveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("service", NAME, nullable=False),
    Column("strategy", NAME, nullable=False),
    Column("queue", NAME, nullable=False),
    _word("action", Action),
    _word("state", AttemptState),
    Column("created_at", Utc, nullable=False),
    _word("kind", Kind),
    Column("fingerprint", ID, nullable=False),
    Column("started_at", Utc),
    Column("finished_at", Utc),
    _word("outcome", Outcome, nullable=True),
    Column("reason", Prose, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("runs", Integer, nullable=False),
    Index("ix_attempts_service_created_at", "service", "created_at"),
)

steps = Table(
    "steps",
    metadata,
    Column("recovery_id", ID, primary_key=True),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("name", NAME, nullable=False),
    _word("state", StepState),
    Column("fence", BigInteger, nullable=False),
    Column("started_at", Utc, nullable=False),
    Column("finished_at", Utc),
    Column("intent", Json, nullable=False),
    Column("result", Json, nullable=False),
    Column("error", Prose, nullable=False),
    Column("reconciled", Boolean, nullable=False),
    ForeignKeyConstraint(["recovery_id", "attempt"], ["attempts.recovery_id", "attempts.number"], ondelete="CASCADE"),
)

decisions = Table(
    "decisions",
    metadata,
    _serial(),
    Column("service", NAME, nullable=False),
    _word("choice", Choice),
    Column("guard", NAME, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("at", Utc, nullable=False),
    Column("recovery_id", ID),
    Column("strategy", NAME),
    Column("failure_id", ID),
    Column("facts", Json, nullable=False),
    Column("until", Utc),
    Column("repeats", Integer, nullable=False),
    Column("last_at", Utc),
    Column("repeat_key", String(32), nullable=False),
    Index("ix_decisions_service_id", "service", "id"),
    Index("ix_decisions_recovery_id", "recovery_id"),
    Index("ix_decisions_at", "at"),
)

events = Table(
    "events",
    metadata,
    _serial(),
    Column("name", NAME, nullable=False),
    Column("at", Utc, nullable=False),
    Column("service", NAME),
    Column("recovery_id", ID),
    Column("data", Json, nullable=False),
    Index("ix_events_recovery_id", "recovery_id"),
    Index("ix_events_at", "at"),
    sqlite_autoincrement=True,
)
"""`watch` remembers the last id it saw: SQLite must not give one out again after pruning."""

leases = Table(
    "leases",
    metadata,
    Column("service", NAME, primary_key=True),
    Column("recovery_id", ID, nullable=False),
    Column("holder", String(200)),
    Column("fence", BigInteger, nullable=False),
    Column("until", Utc, nullable=False),
    Column("seconds", Float, nullable=False),
)
"""One row per service for good: the fence must never fall. `holder` is null once the lease was given up."""

leadership = Table(
    "leadership",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("holder", String(200)),
    Column("fence", BigInteger, nullable=False),
    Column("until", Utc, nullable=False),
)
"""Who alone may do a job of the whole platform, such as beat's; one row per job for good. `holder` is null once it was given up."""

mitigations = Table(
    "mitigations",
    metadata,
    Column("service", NAME, primary_key=True),
    Column("strategy", NAME, primary_key=True),
    Column("recovery_id", ID, nullable=False),
    Column("since", Utc, nullable=False),
    Column("until", Utc, nullable=False),
)

samples = Table(
    "samples",
    metadata,
    _serial(),
    Column("service", NAME, nullable=False),
    Column("check", NAME, nullable=False),
    Column("at", Utc, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("latency", Float, nullable=False),
    Column("message", Prose, nullable=False),
    _word("category", Category),
    _word("type", FailureType),
    Column("details", Json, nullable=False),
    Index("ix_samples_service_at", "service", "at"),
    Index("ix_samples_at", "at"),
)

check_states = Table(
    "check_states",
    metadata,
    Column("service", NAME, primary_key=True),
    Column("check", NAME, primary_key=True),
    _word("status", Status),
    Column("failures", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("at", Utc),
    Column("first_failure_at", Utc),
    Column("message", Prose, nullable=False),
    _word("category", Category),
    _word("type", FailureType),
    Column("latency", Float, nullable=False),
    Column("details", Json, nullable=False),
)

service_states = Table(
    "service_states",
    metadata,
    Column("service", NAME, primary_key=True),
    _word("status", Status),
    Column("score", Integer, nullable=False),
    Column("since", Utc),
    Column("seen_at", Utc),
    Column("started_at", Utc),
    Column("stable_since", Utc),
    Column("message", Prose, nullable=False),
    Column("recent", String(21), nullable=False),
    Column("change_rate", Float, nullable=False),
    Column("flapping", Boolean, nullable=False),
)

sweeps = Table("sweeps", metadata, Column("key", String(200), primary_key=True), Column("at", Utc, nullable=False))

silences = Table(
    "silences",
    metadata,
    Column("id", ID, primary_key=True),
    _word("kind", SilenceKind),
    Column("since", Utc, nullable=False),
    Column("until", Utc),
    Column("author", Prose, nullable=False),
    Column("reason", Prose, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("services", Json, nullable=False),
    Column("labels", Json, nullable=False),
    Column("lifted_at", Utc),
    Column("lifted_by", Prose, nullable=False),
)

approvals = Table(
    "approvals",
    metadata,
    Column("recovery_id", ID, ForeignKey("recoveries.id", ondelete="CASCADE"), primary_key=True),
    Column("asked_at", Utc, nullable=False),
    Column("until", Utc, nullable=False),
    _word("answer", Answer, nullable=True),
    Column("answered_by", Prose, nullable=False),
    Column("answered_at", Utc),
    Column("comment", Prose, nullable=False),
)

bases = Table(
    "bases",
    metadata,
    _serial(),
    Column("recovery_id", ID, nullable=False),
    Column("service", NAME, nullable=False),
    Column("at", Utc, nullable=False),
    Column("config_version", String(64), nullable=False),
    Column("facts", Json, nullable=False),
    Column("decisions", Json, nullable=False),
    Index("ix_bases_at", "at"),
)

breaker_changes = Table(
    "breaker_changes",
    metadata,
    _serial(),
    Column("stream_id", String(40), nullable=False),
    Column("breaker", NAME, nullable=False),
    Column("service", NAME, nullable=False),
    Column("at", Utc, nullable=False),
    Column("before", String(32), nullable=False),
    Column("after", String(32), nullable=False),
    Column("reason", Prose, nullable=False),
    Column("trips", Integer, nullable=False),
    Column("streak", Integer, nullable=False),
    Column("by", Prose, nullable=False),
    Index("uq_breaker_changes_stream_id_breaker", "stream_id", "breaker", unique=True),
    Index("ix_breaker_changes_breaker_at", "breaker", "at"),
    Index("ix_breaker_changes_at", "at"),
)
"""What circuit breakers showed; an entry of the stream that is read a second time, after a crash, finds its row."""

degradation_rules = Table(
    "degradation_rules",
    metadata,
    Column("rule", NAME, primary_key=True),
    Column("service", NAME, nullable=False),
    Column("in_force", Boolean, nullable=False),
    Column("since", Utc),
    Column("until", Utc),
    Column("overruled_by", Prose, nullable=False),
    Column("version", Integer, nullable=False),
)
"""How automatic rules of degradation stand; one row per rule that ever held."""

degraded = Table(
    "degraded",
    metadata,
    Column("service", NAME, primary_key=True),
    Column("layer", NAME, primary_key=True),
    Column("fence", BigInteger, nullable=False),
    Column("until", Utc, nullable=False),
    Column("value", Json, nullable=False),
)
"""What people and remedies put in force, until its end is told; `value` is what services read."""

pulses = Table(
    "pulses",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("at", Utc, nullable=False),
    Column("detail", Json, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    _serial(),
    Column("action", NAME, nullable=False),
    Column("actor", Prose, nullable=False),
    Column("detail", Json, nullable=False),
    Column("at", Utc, nullable=False),
    Index("ix_audit_at", "at"),
)
