"""Tasks, members, deals that rotted, and timers that can be made anew."""

from __future__ import annotations

from typing import Final

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

CHANGES: Final = (
    "alter table deal add column rotted_at timestamptz",
    "create index deal_rotted on deal (opened_at, deal_id) where rotted_at is not null",
    """
    create table task (
        task_id     uuid primary key,
        version     int not null,
        customer_id uuid not null,
        deal_id     uuid not null,
        owner_id    uuid not null,
        kind        text not null,
        due_on      date not null,
        opened_at   timestamptz not null,
        done_at     timestamptz
    ) with (fillfactor = 80)""",
    "create index task_by_day on task (due_on, task_id)",
    "create index task_of_owner on task (owner_id, due_on, task_id)",
    "create index task_of_deal on task (deal_id)",
    """
    create table member (
        member_id uuid primary key,
        name      text,
        mail      text,
        active    boolean not null
    ) with (fillfactor = 80)""",
)


def upgrade() -> None:
    apply_chassis(op, "v6")  # pyright: ignore[reportArgumentType]  # a module that stands for one
    for change in CHANGES:
        op.execute(change)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
