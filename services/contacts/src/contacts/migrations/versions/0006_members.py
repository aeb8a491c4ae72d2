"""The members of the company."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

MEMBERS = """
create table member (
    member_id     uuid primary key,
    version       int not null,
    name          text,
    mail          text,
    active        boolean not null,
    registered_at timestamptz not null,
    changed_at    timestamptz not null
)"""


def upgrade() -> None:
    op.execute(MEMBERS)


def downgrade() -> None:
    raise NotImplementedError("a log is never taken back")
