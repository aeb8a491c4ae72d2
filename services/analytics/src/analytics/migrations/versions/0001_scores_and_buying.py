"""Scores, who is one person with whom, and what customers buy."""

from __future__ import annotations

from alembic import op
from crm_store.migrations import apply_chassis

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    # Every model that ever scored here, as it was: a version never changes.
    """
    create table scoring_model (
        model_id      bigint primary key,
        name          text not null,
        version       int not null,
        sha256        text not null,
        definition    json not null,
        registered_at timestamptz not null default now(),
        unique (name, version)
    )""",
    # s and s_negative are logarithms of sums at the model's landmark; null: nothing in them.
    # changes moves with every write, due_at says since when standing and event are owed.
    """
    create table engagement (
        model_id     bigint not null,
        customer_id  uuid not null,
        s            double precision,
        s_negative   double precision,
        counted      bigint not null default 0,
        clamped      bigint not null default 0,
        last_fact_at timestamptz,
        changes      bigint not null default 1,
        due_at       timestamptz,
        moved_at     timestamptz,
        unpublished  boolean not null default false,
        primary key (model_id, customer_id)
    ) with (fillfactor = 70)""",
    "create index engagement_due on engagement (model_id, due_at) where due_at is not null",
    # What a cap took on a day: 32 bytes each of instant (us), event id and logarithm of weight.
    """
    create table engagement_day (
        model_id    bigint not null,
        customer_id uuid not null,
        kind        text not null,
        day         date not null,
        entries     bytea not null,
        primary key (model_id, customer_id, kind, day)
    ) with (fillfactor = 70)""",
    # Groups of customers that are one person, by the logarithm of what they score together;
    # the difference of two logarithms does not change with time, so this order holds for good.
    """
    create table standing (
        model_id    bigint not null,
        customer_id uuid not null,
        s_net       double precision not null,
        members     int not null,
        primary key (model_id, customer_id)
    ) with (fillfactor = 70)""",
    "create index standing_order on standing (model_id, s_net desc, customer_id desc)",
    # Which customer's history belongs to which, and when that was so: [[from, until or null]].
    """
    create table link (
        customer_id uuid not null,
        into_id     uuid not null,
        linked      boolean not null,
        periods     json not null,
        primary key (customer_id, into_id)
    )""",
    "create index link_into on link (into_id)",
    """
    create table buying (
        customer_id     uuid not null,
        currency        text not null,
        orders          bigint not null,
        spent           numeric not null,
        refunds         bigint not null,
        refunded        numeric not null,
        first_order_at  timestamptz,
        last_order_at   timestamptz,
        last_refund_at  timestamptz,
        primary key (customer_id, currency)
    ) with (fillfactor = 70)""",
)


def upgrade() -> None:
    apply_chassis(op, "v1")  # pyright: ignore[reportArgumentType]  # a module that stands for one
    for table in TABLES:
        op.execute(table)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
