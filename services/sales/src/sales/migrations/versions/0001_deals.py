"""Deals in their pipelines, and the customers they are with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alembic import op
from crm_store.migrations import apply_chassis

if TYPE_CHECKING:
    from crm_store.migrations import Release

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

CHASSIS: Final[tuple[Release, ...]] = ("v1", "v2", "v3", "v4", "v5")
TABLES = (
    """
    create table account (
        customer_id uuid primary key,
        told        jsonb not null,
        name        text,
        linked_into uuid
    ) with (fillfactor = 80)""",
    "create index account_linked_into on account (linked_into) where linked_into is not null",
    """
    create table deal (
        deal_id        uuid primary key,
        version        int not null,
        customer_id    uuid not null,
        title          text,
        pipeline       text not null,
        stage          text not null,
        stage_since    timestamptz not null,
        status         text not null,
        amount         numeric,
        currency       text,
        expected_close date,
        owner_id       uuid not null,
        products       jsonb not null,
        opened_at      timestamptz not null,
        closed_at      timestamptz,
        won_on         date,
        loss_reason    text,
        loss_note      text
    ) with (fillfactor = 70)""",
    "create index deal_newest on deal (opened_at, deal_id)",
    "create index deal_of_owner on deal (owner_id, opened_at, deal_id)",
    "create index deal_of_customer on deal (customer_id)",
    "create index deal_in_stage on deal (pipeline, stage, opened_at, deal_id)",
)


def upgrade() -> None:
    for version in CHASSIS:
        apply_chassis(op, version)  # pyright: ignore[reportArgumentType]  # a module that stands for one
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
