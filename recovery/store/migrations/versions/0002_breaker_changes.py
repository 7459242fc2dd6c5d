"""Create the history of circuit breakers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "breaker_changes",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), sa.Identity(), nullable=False),
        sa.Column("stream_id", sa.String(40), nullable=False),
        sa.Column("breaker", sa.String(100), nullable=False),
        sa.Column("service", sa.String(100), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("before", sa.String(32), nullable=False),
        sa.Column("after", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("trips", sa.Integer(), nullable=False),
        sa.Column("streak", sa.Integer(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_breaker_changes"),
    )
    op.create_index("uq_breaker_changes_stream_id_breaker", "breaker_changes", ["stream_id", "breaker"], unique=True)
    op.create_index("ix_breaker_changes_breaker_at", "breaker_changes", ["breaker", "at"])
    op.create_index("ix_breaker_changes_at", "breaker_changes", ["at"])


def downgrade() -> None:
    op.drop_table("breaker_changes")
