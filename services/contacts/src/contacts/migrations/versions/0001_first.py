"""The directory, the timeline, the scores heard of, and what was set aside."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    create table person (
        customer_id   uuid primary key,
        profile       jsonb not null,
        identifiers   jsonb not null,
        linked_into   uuid,
        link_reason   text,
        linked_at     timestamptz,
        registered_at timestamptz not null,
        changed_at    timestamptz not null
    ) with (fillfactor = 80)""",
    "create index person_linked_into on person (linked_into) where linked_into is not null",
    """
    create table timeline_entry (
        customer_id uuid not null,
        occurred_at timestamptz not null,
        event_id    uuid not null,
        type        text not null,
        title       text,
        amount      numeric,
        currency    text,
        detail      jsonb not null,
        primary key (customer_id, occurred_at, event_id)
    )""",
    """
    create table score (
        customer_id       uuid not null,
        model             text not null,
        model_version     int not null,
        s                 double precision,
        s_negative        double precision,
        landmark          timestamptz not null,
        half_life_seconds double precision not null,
        counted           int not null,
        last_fact_at      timestamptz not null,
        primary key (customer_id, model)
    ) with (fillfactor = 70)""",
    # Messages that could not be taken, whole, under a key derived from the key-encryption key.
    """
    create table set_aside (
        id          uuid primary key,
        source      text not null,
        received_at timestamptz not null,
        code        text not null,
        pointer     text not null,
        kek_id      text not null,
        sealed      bytea not null
    )""",
    "create index set_aside_newest on set_aside (received_at, id)",
)


def upgrade() -> None:
    apply_chassis(op, "v1")  # pyright: ignore[reportArgumentType]  # a module that stands for one
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
