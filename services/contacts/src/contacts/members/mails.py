"""A mail belongs to one active member: what is reserved with their events, and what is let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from crm_events.topics import MEMBERS
from crm_store.log.entries import Reservation, Statement
from crm_store.log.logged import COLUMNS

from contacts.members.decider import evolve
from contacts.people.identifiers import digest

if TYPE_CHECKING:
    from uuid import UUID

    import asyncpg
    from crm_store.log.append import Log

    from contacts.members.decider import Member, MemberEvent

KIND: Final = "member-mail"
"""Of reservations. A person may be known by the same mail: that is another kind."""

LET_GO: Final = "delete from reservation where kind = $1 and digest = $2 and holder = $3"
OWN: Final = f"""
select {COLUMNS}, l.data from log l
where l.topic = $1 and l.sequence is null order by l.stream_id, l.version
"""  # noqa: S608  # constants only
ANEW: Final = """
with held as (
    select * from unnest($2::bytea[], $3::uuid[]) as u(digest, holder)
), let_go as (
    delete from reservation r
    where r.kind = $1 and not exists (select from held h where h.digest = r.digest)
)
insert into reservation (kind, digest, holder) select $1, h.digest, h.holder from held h
on conflict (kind, digest) do update set holder = excluded.holder
"""


def held(member: Member | None, *, key: bytes) -> Reservation | None:
    """What is reserved for a member: the mail, by its HMAC under `key`, while they are active."""
    if member is None or member.mail is None or not member.active:
        return None
    return Reservation(KIND, digest(KIND, member.mail, key=key), member.member_id)


def letting_go(reservation: Reservation) -> Statement:
    """What makes a mail free for another."""
    return Statement(LET_GO, (reservation.kind, reservation.digest, reservation.holder))


async def reserve_anew(pool: asyncpg.Pool, log: Log, *, key: bytes) -> None:
    """Make the reservations of all members from their events: some came back, others were let go.

    Nothing may be appended meanwhile.
    """
    members: dict[UUID, Member | None] = {}
    for entry in await log.logged(await pool.fetch(OWN, MEMBERS.name), opens=True):
        before = members.get(entry.stream_id)
        members[entry.stream_id] = evolve(before, cast("MemberEvent", entry.event))
    reservations = [one for member in members.values() if (one := held(member, key=key))]
    holders = {one.digest: one.holder for one in reservations}
    await pool.execute(ANEW, KIND, list(holders), list(holders.values()))
