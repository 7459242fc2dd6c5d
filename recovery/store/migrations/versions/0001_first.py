"""Create every table.

Celery's result tables are written out as Celery 5.7 declares them, so that its own `create_all` is never needed.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
PLAN = sa.Text().with_variant(JSONB(), "postgresql")
SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NAME = sa.String(100)
ID = sa.String(64)
WORD = sa.String(32)
IS_OPEN = sa.text("state IN ('awaiting_approval', 'in_progress', 'pending')")
HAS_SUCCEEDED = sa.text("state = 'succeeded'")
SEQUENCES = ("task_id_sequence", "taskset_id_sequence")

TABLES = (
    "recoveries",
    "failures",
    "attempts",
    "steps",
    "decisions",
    "events",
    "leases",
    "leadership",
    "mitigations",
    "samples",
    "check_states",
    "service_states",
    "sweeps",
    "silences",
    "approvals",
    "bases",
    "pulses",
    "audit",
    "celery_taskmeta",
    "celery_tasksetmeta",
)


def upgrade() -> None:
    _create_recoveries()
    _create_failures()
    _create_attempts()
    _create_steps()
    _create_decisions()
    _create_events()
    _create_leases()
    _create_leadership()
    _create_mitigations()
    _create_samples()
    _create_check_states()
    _create_service_states()
    _create_sweeps()
    _create_silences()
    _create_approvals()
    _create_bases()
    _create_pulses()
    _create_audit()
    if op.get_bind().dialect.supports_sequences:
        for name in SEQUENCES:
            op.execute(sa.schema.CreateSequence(sa.Sequence(name)))
    _create_celery_taskmeta()
    _create_celery_tasksetmeta()


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)
    if op.get_bind().dialect.supports_sequences:
        for name in SEQUENCES:
            op.execute(sa.schema.DropSequence(sa.Sequence(name)))


def _create_recoveries() -> None:
    op.create_table(
        "recoveries",
        sa.Column("id", ID, primary_key=True),
        sa.Column("service", NAME, nullable=False),
        sa.Column("fingerprint", ID, nullable=False),
        sa.Column("category", WORD, nullable=False),
        sa.Column("severity", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("plan", PLAN, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("first_evidence_at", TIME, nullable=False),
        sa.Column("outcome", WORD),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("due_at", TIME),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("failure_id", ID),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_failure_at", TIME),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("quiet_until", TIME),
        sa.Column("held_by", WORD, nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("force", sa.Boolean(), nullable=False),
        sa.Column("config_version", ID, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("touched_at", TIME),
        sa.Column("recovery_seconds", sa.Float()),
    )
    op.create_index("ix_recoveries_created_at", "recoveries", ["created_at"])
    op.create_index("ix_recoveries_open_due_at", "recoveries", ["due_at", "touched_at"], sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)
    op.create_index("ix_recoveries_quiet_until", "recoveries", ["quiet_until"])
    op.create_index("ix_recoveries_started_at", "recoveries", ["started_at"])
    answered = ["finished_at", "service", "outcome", "kind", "dry_run", "recovery_seconds", "state"]
    op.create_index("ix_recoveries_succeeded", "recoveries", answered, sqlite_where=HAS_SUCCEEDED, postgresql_where=HAS_SUCCEEDED)
    op.create_index("ix_recoveries_service_created_at", "recoveries", ["service", "created_at"])
    op.create_index("uq_recoveries_open_service", "recoveries", ["service"], unique=True, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)


def _create_failures() -> None:
    op.create_table(
        "failures",
        sa.Column("id", SERIAL, sa.Identity(), primary_key=True),
        sa.Column("recovery_id", ID, nullable=False),
        sa.Column("failure_id", ID, nullable=False),
        sa.Column("service", NAME, nullable=False),
        sa.Column("category", WORD, nullable=False),
        sa.Column("type", WORD, nullable=False),
        sa.Column("severity", WORD, nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("stack", sa.Text()),
        sa.Column("recoverable", sa.Boolean(), nullable=False),
        sa.Column("fingerprint", ID, nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.ForeignKeyConstraint(["recovery_id"], ["recoveries.id"], ondelete="CASCADE"),
        sa.UniqueConstraint("failure_id"),
    )
    op.create_index("ix_failures_recovery_id_id", "failures", ["recovery_id", "id"])


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("recovery_id", ID, primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("service", NAME, nullable=False),
        sa.Column("strategy", NAME, nullable=False),
        sa.Column("queue", NAME, nullable=False),
        sa.Column("action", WORD, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("fingerprint", ID, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("outcome", WORD),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["recovery_id"], ["recoveries.id"], ondelete="CASCADE"),
    )
    op.create_index("ix_attempts_service_created_at", "attempts", ["service", "created_at"])


def _create_steps() -> None:
    op.create_table(
        "steps",
        sa.Column("recovery_id", ID, primary_key=True),
        sa.Column("attempt", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("name", NAME, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("intent", JSON, nullable=False),
        sa.Column("result", JSON, nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("reconciled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["recovery_id", "attempt"], ["attempts.recovery_id", "attempts.number"], ondelete="CASCADE"),
    )


def _create_decisions() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", SERIAL, sa.Identity(), primary_key=True),
        sa.Column("service", NAME, nullable=False),
        sa.Column("choice", WORD, nullable=False),
        sa.Column("guard", NAME, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("recovery_id", ID),
        sa.Column("strategy", NAME),
        sa.Column("failure_id", ID),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("until", TIME),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("last_at", TIME),
        sa.Column("repeat_key", sa.String(32), nullable=False),
    )
    op.create_index("ix_decisions_at", "decisions", ["at"])
    op.create_index("ix_decisions_recovery_id", "decisions", ["recovery_id"])
    op.create_index("ix_decisions_service_id", "decisions", ["service", "id"])


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", SERIAL, sa.Identity(), primary_key=True),
        sa.Column("name", NAME, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("service", NAME),
        sa.Column("recovery_id", ID),
        sa.Column("data", JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_at", "events", ["at"])
    op.create_index("ix_events_recovery_id", "events", ["recovery_id"])


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("service", NAME, primary_key=True),
        sa.Column("recovery_id", ID, nullable=False),
        sa.Column("holder", sa.String(200)),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
    )


def _create_leadership() -> None:
    op.create_table(
        "leadership",
        sa.Column("name", NAME, primary_key=True),
        sa.Column("holder", sa.String(200)),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("until", TIME, nullable=False),
    )


def _create_mitigations() -> None:
    op.create_table(
        "mitigations",
        sa.Column("service", NAME, primary_key=True),
        sa.Column("strategy", NAME, primary_key=True),
        sa.Column("recovery_id", ID, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
    )


def _create_samples() -> None:
    op.create_table(
        "samples",
        sa.Column("id", SERIAL, sa.Identity(), primary_key=True),
        sa.Column("service", NAME, nullable=False),
        sa.Column("check", NAME, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("latency", sa.Float(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("category", WORD, nullable=False),
        sa.Column("type", WORD, nullable=False),
        sa.Column("details", JSON, nullable=False),
    )
    op.create_index("ix_samples_at", "samples", ["at"])
    op.create_index("ix_samples_service_at", "samples", ["service", "at"])


def _create_check_states() -> None:
    op.create_table(
        "check_states",
        sa.Column("service", NAME, primary_key=True),
        sa.Column("check", NAME, primary_key=True),
        sa.Column("status", WORD, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("successes", sa.Integer(), nullable=False),
        sa.Column("at", TIME),
        sa.Column("first_failure_at", TIME),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("category", WORD, nullable=False),
        sa.Column("type", WORD, nullable=False),
        sa.Column("latency", sa.Float(), nullable=False),
        sa.Column("details", JSON, nullable=False),
    )


def _create_service_states() -> None:
    op.create_table(
        "service_states",
        sa.Column("service", NAME, primary_key=True),
        sa.Column("status", WORD, nullable=False),
        sa.Column("score", sa.Integer(), nullable=False),
        sa.Column("since", TIME),
        sa.Column("seen_at", TIME),
        sa.Column("started_at", TIME),
        sa.Column("stable_since", TIME),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("recent", sa.String(21), nullable=False),
        sa.Column("change_rate", sa.Float(), nullable=False),
        sa.Column("flapping", sa.Boolean(), nullable=False),
    )


def _create_sweeps() -> None:
    op.create_table(
        "sweeps",
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("at", TIME, nullable=False),
    )


def _create_silences() -> None:
    op.create_table(
        "silences",
        sa.Column("id", ID, primary_key=True),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("services", JSON, nullable=False),
        sa.Column("labels", JSON, nullable=False),
        sa.Column("lifted_at", TIME),
        sa.Column("lifted_by", sa.Text(), nullable=False),
    )


def _create_approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("recovery_id", ID, primary_key=True),
        sa.Column("asked_at", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("answer", WORD),
        sa.Column("answered_by", sa.Text(), nullable=False),
        sa.Column("answered_at", TIME),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["recovery_id"], ["recoveries.id"], ondelete="CASCADE"),
    )


def _create_bases() -> None:
    op.create_table(
        "bases",
        sa.Column("id", SERIAL, sa.Identity(), primary_key=True),
        sa.Column("recovery_id", ID, nullable=False),
        sa.Column("service", NAME, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("config_version", sa.String(64), nullable=False),
        sa.Column("facts", JSON, nullable=False),
        sa.Column("decisions", JSON, nullable=False),
    )
    op.create_index("ix_bases_at", "bases", ["at"])


def _create_pulses() -> None:
    op.create_table(
        "pulses",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("detail", JSON, nullable=False),
    )


def _create_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", SERIAL, sa.Identity(), primary_key=True),
        sa.Column("action", NAME, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.Column("at", TIME, nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])


def _create_celery_taskmeta() -> None:
    op.create_table(
        "celery_taskmeta",
        sa.Column("id", sa.Integer(), sa.Sequence("task_id_sequence"), primary_key=True),
        sa.Column("task_id", sa.String(155)),
        sa.Column("status", sa.String(50)),
        sa.Column("result", sa.LargeBinary()),
        sa.Column("date_done", sa.DateTime()),
        sa.Column("traceback", sa.Text()),
        sa.Column("children", sa.LargeBinary()),
        sa.Column("name", sa.String(155)),
        sa.Column("args", sa.LargeBinary()),
        sa.Column("kwargs", sa.LargeBinary()),
        sa.Column("worker", sa.String(155)),
        sa.Column("retries", sa.Integer()),
        sa.Column("queue", sa.String(155)),
        sa.Column("stamps", sa.LargeBinary()),
        sa.UniqueConstraint("task_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_celery_taskmeta_date_done", "celery_taskmeta", ["date_done"])


def _create_celery_tasksetmeta() -> None:
    op.create_table(
        "celery_tasksetmeta",
        sa.Column("id", sa.Integer(), sa.Sequence("taskset_id_sequence"), primary_key=True),
        sa.Column("taskset_id", sa.String(155)),
        sa.Column("result", sa.LargeBinary()),
        sa.Column("date_done", sa.DateTime()),
        sa.UniqueConstraint("taskset_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_celery_tasksetmeta_date_done", "celery_tasksetmeta", ["date_done"])
