"""The deals that the customer file shows."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

DEALS = (
    """
    create table deal (
        deal_id        uuid primary key,
        customer_id    uuid not null,
        title          text,
        pipeline       text not null,
        stage          text not null,
        status         text not null,
        amount         numeric,
        currency       text,
        expected_close date,
        owner_id       uuid not null,
        loss_reason    text,
        rotted_at      timestamptz,
        opened_at      timestamptz not null,
        changed_at     timestamptz not null
    ) with (fillfactor = 70)""",
    "create index deal_of_customer on deal (customer_id, opened_at, deal_id)",
)


def upgrade() -> None:
    for statement in DEALS:
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
