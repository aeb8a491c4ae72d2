"""Sales under faults: deals are opened, won and left to rot, and a back office is told."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
from crm_chassis.apikeys import keep_key, new_api_key
from crm_store.ids import new_id

from tests.fault.back_office import BackOffice, back_office

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.fault.process import Process
    from tests.fault.world import World

SOON_SECONDS: Final = 30.0
OWNER: Final = UUID(int=0xB0B)
SLOW, HASTY = "slow", "hasty"  # in pipelines.json: where nothing rots, and after two seconds
BEGUN: Final = "select count(*) from projection_checkpoint where name = any($1::text[])"
FOLLOWING: Final = ("hand-over", "follow-up")
INTENTS: Final = """
select count(*) from intent
where state = any($1::text[]) and content->'data'->>'deal_id' = any($2::text[])
"""
EVENTS: Final = """
select data->>'deal_id', count(*) from log
where type = $1 and data->>'deal_id' = any($2::text[]) and sequence is null group by 1
"""
# Timers are set only by deals of the hasty pipeline; and what rotted is followed up.
OWED: Final = """
select (select count(*) from timer) + (
    select count(*) from log l, projection_checkpoint c
    where c.name = 'follow-up' and l.type = 'sales.deal.rotted'
      and (l.epoch, l.xid, l.gp) > (c.epoch, c.xid, c.gp))
"""
# A claim that nobody settled for a minute is of a process that died: that minute goes by.
A_MINUTE_LATER: Final = """
update intent set claimed_at = claimed_at - interval '61 s' where state = 'claimed'
"""


@dataclass(frozen=True, slots=True)
class Sales:
    """Sales in one process, somebody to sell to, and the back office that is told."""

    world: World
    process: Process
    office: BackOffice
    http: httpx.AsyncClient
    customer: UUID
    won: list[str] = field(default_factory=list)  # the ids of deals

    async def win(self) -> str:
        """A deal is opened and won; its id."""
        deal = await self._open(SLOW)
        answer = await self.http.post(f"/deals/{deal}/won", json={"won_on": "2026-05-31"})
        assert answer.status_code == httpx.codes.OK, answer.text
        self.won.append(deal)
        return deal

    async def leave(self) -> str:
        """A deal is opened and left to rot; its id."""
        return await self._open(HASTY)

    async def _open(self, pipeline: str) -> str:
        body = {
            "customer_id": str(self.customer),
            "pipeline": pipeline,
            "title": "Glasses",
            "owner_id": str(OWNER),
            "amount": {"amount": "1200.50", "currency": "EUR"},
        }
        opened: dict[str, Any] = {}

        async def is_opened() -> bool:
            answer = await self.http.post("/deals", json=body)
            # 409: not heard of them yet; 503: not compared with Kafka yet
            assert answer.status_code in {201, 409, 503}, answer.text
            opened.update(answer.json())
            return answer.status_code == httpx.codes.CREATED

        await self.world.until(is_opened, within_seconds=SOON_SECONDS, what="an open deal")
        return str(opened["stream_id"])

    async def events(self, kind: str, deals: Sequence[str]) -> dict[str, int]:
        """How many of a type sales has decided on, by deal."""
        async with self.world.database("sales") as connection:
            return dict(await connection.fetch(EVENTS, kind, deals))

    async def followed_up(self) -> None:
        """Wait until no deal is to rot any more, and nothing is to follow from one that did."""

        async def nothing_owed() -> bool:
            async with self.world.database("sales") as connection:
                return not await connection.fetchval(OWED)

        await self.world.until(nothing_owed, within_seconds=SOON_SECONDS, what="what follows")

    async def intents(self, *states: str) -> int:
        """How many there are because of the deals that were won here."""
        async with self.world.database("sales") as connection:
            return int(await connection.fetchval(INTENTS, states, self.won))

    async def follows(self) -> None:
        """Wait until what happens now is news."""

        async def has_begun() -> bool:
            async with self.world.database("sales") as connection:
                return bool(await connection.fetchval(BEGUN, FOLLOWING) == len(FOLLOWING))

        await self.world.until(has_begun, within_seconds=SOON_SECONDS, what="what follows")

    async def minute_passes(self) -> None:
        """A claim that is open is a minute old now."""
        assert await self.intents("claimed"), "nothing is claimed"
        async with self.world.database("sales") as connection:
            await connection.execute(A_MINUTE_LATER)
        self.world.timeline.note("a minute later for what is claimed")

    async def meant(self) -> None:
        """Wait until it is written down whom to tell of the last deal."""

        async def is_meant() -> bool:
            return await self.intents("waiting") > 0

        await self.world.until(is_meant, within_seconds=SOON_SECONDS, what="what is meant")

    async def told(self) -> None:
        """Wait until every deal was told of, and that was noted."""

        async def all_sent() -> bool:
            return await self.intents("sent") == len(self.won)

        await self.world.until(all_sent, within_seconds=SOON_SECONDS, what="the end of telling")


@asynccontextmanager
async def selling(world: World) -> AsyncGenerator[Sales]:
    """Sales at work while the body runs; it has told of all that it knew."""
    customer = await _somebody(world)
    async with (
        back_office() as office,
        world.standby("sales", "run", "1", more=office.settings()) as process,
        _caller(world, process, "deals:write") as http,
    ):
        sales = Sales(world, process, office, http, customer)
        await sales.follows()
        await sales.win()
        await sales.told()
        yield sales


async def _somebody(world: World) -> UUID:
    """A person of whom no load tells: what is sold counts, and the judge knows nothing of it."""
    known_by = [{"namespace": "mail", "value": f"{new_id()}@shop.test"}]
    async with _caller(world, world.collector, "people:write") as http:
        answer = await http.post("/people", json={"identifiers": known_by})
    customer = UUID(answer.raise_for_status().json()["customer_id"])
    world.notes.sold_to.add(customer)
    return customer


@asynccontextmanager
async def _caller(world: World, process: Process, scope: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a process with a key of its own for this scope."""
    key = new_api_key()
    async with world.database(process.service.name) as connection:
        await keep_key(connection, key, name="fault", scopes=[scope])
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=process.service.url, headers=headers, timeout=10) as http:
        yield http
