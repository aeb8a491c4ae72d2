"""The collector over HTTP: batches of 100, durable before the answer, client on the same cores.

Its ceiling is the same statement behind an ASGI function that does nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import orjson
from crm_chassis.apikeys import COLLECT, keep_key, new_write_key

from demo.running import Service
from tests.bench.bench import Bench
from tests.bench.load import samples
from tests.bench.meter import Timed
from tests.bench.processes import running, service
from tests.bench.product import contacts_on
from tests.bench.row import Contestant, Kind, Row, Run, at_least

EVENTS = 20_000
QUICK_EVENTS = 2_000
BATCH = 100
SENDERS = 4
STORED = """
select count(*) from log where type = 'contacts.activity.tracked' and data->>'message_id' like 'm%'
"""


def bodies(events: int, key: str, *, prefix: str, unknown: bool) -> list[bytes]:
    """Requests of 100 tracked events of 300 bytes or so, by users of Zipf, or each by its own."""
    chosen = list(samples(events, keys="unique" if unknown else "Zipf"))
    return [
        orjson.dumps(
            {
                "writeKey": key,
                "batch": [
                    {
                        "type": "track",
                        "event": one.kind,
                        "messageId": f"{prefix}{one.number}",
                        "userId": str(one.customer_id),
                        "properties": {"value": one.value, "note": one.note[:100]},
                    }
                    for one in chosen[first : first + BATCH]
                ],
            }
        )
        for first in range(0, events, BATCH)
    ]


def contestants(unknown: bool) -> Callable[[Bench], AsyncIterator[Sequence[Contestant]]]:  # noqa: FBT001
    @asynccontextmanager
    async def opened(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
        events = bench.size(EVENTS, quick=QUICK_EVENTS)

        async def kith() -> Run:
            async with contacts_on(bench) as placed:
                key = new_write_key()
                await keep_key(placed.core.pool, key, name="bench", scopes=[COLLECT])
                api = service(bench, "contacts", placed.url, role="api")
                # Whoever sends is known by then, unless that is what is measured.
                before = [] if unknown else bodies(events, key, prefix="w", unknown=False)
                timed_bodies = bodies(events, key, prefix="m", unknown=unknown)
                timed = await posted(bench, api, timed_bodies, before=before)
                stored = await placed.core.pool.fetchval(STORED)
            return told(timed, "kith", "contacts api", events, stored)

        async def bare() -> Run:
            async with contacts_on(bench) as placed:
                role = "unknown" if unknown else "known"
                api = replace(
                    service(bench, "contacts", placed.url, role=role),
                    name="tests.bench.bare_collector",
                )
                timed = await posted(bench, api, bodies(events, "", prefix="m", unknown=unknown))
                stored = await placed.core.pool.fetchval(STORED)
            return told(timed, "ceiling", "a bare ASGI function, bare asyncpg", events, stored)

        yield kith, bare

    return opened


async def posted(
    bench: Bench,
    api: Service,
    requests: Sequence[bytes],
    *,
    before: Sequence[bytes] = (),
    senders: int = SENDERS,
) -> Timed:
    """Run an API as a process, and time the requests; those that come `before` are not timed."""
    async with running(bench, api=api), httpx.AsyncClient(timeout=30) as client:
        await post(client, api.url, before, senders)
        async with bench.timed() as timed:
            await post(client, api.url, requests, senders)
    return timed


def told(timed: Timed, kind: Kind, who: str, events: int, stored: int) -> Run:
    settings = {"senders": SENDERS, "a request": BATCH}
    return timed.run(kind, who, events=events, correct=stored == events, settings=settings)


async def post(
    client: httpx.AsyncClient, url: str, requests: Sequence[bytes], senders: int
) -> None:
    """By so many senders, each waiting for its answer as an SDK does."""
    left = iter(requests)

    async def sender() -> None:
        for body in left:
            answer = await client.post(f"{url}/v1/batch", content=body)
            answer.raise_for_status()
            assert answer.json() == {"success": True}, answer.text

    async with asyncio.TaskGroup() as group:
        for _ in range(senders):
            group.create_task(sender())


ROWS = (
    Row(
        "collector",
        does="HTTP in, batches of 100 of known users, durable before the answer",
        contestants=contestants(unknown=False),
        bars=(at_least(5_000, "events/s"),),
        reference="RudderStack publishes 1.7k on two cores",
        keys="Zipf",
        promises={
            "contacts api": "durable, once for ever by message id, sealed",
            "a bare ASGI function": "the same statement; no key asked for, nothing checked, "
            "no user looked up, nothing sealed",
        },
    ),
    Row(
        "collector.unknown",
        does="the same, every event of a user who is registered with it",
        contestants=contestants(unknown=True),
        keys="every event its own user",
        promises={
            "contacts api": "durable, once for ever by message id, sealed",
            "a bare ASGI function": "the same statement, with each user's stream, reservation and "
            "row of a key; nothing minted, wrapped, checked or sealed",
        },
        runs=2,
    ),
)
