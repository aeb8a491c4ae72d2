"""Which standings Redis does not have yet."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = (
    # A number is given once: who clears a mark clears the one that it read.
    """
    create table leader_dirty (
        model_id    bigint not null,
        customer_id uuid not null,
        mark        bigint generated always as identity,
        primary key (model_id, customer_id)
    ) with (fillfactor = 70)""",
)


def upgrade() -> None:
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
