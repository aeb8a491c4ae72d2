"""The customer file over HTTP among 1 M customers, asked for 50 times a second."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
from contacts.customer_file.api import FIRST_ENTRIES
from contacts.customer_file.deals import OF_CUSTOMERS as DEALS_OF
from contacts.customer_file.scores import OF_CUSTOMERS as SCORES_OF
from contacts.people.directory import GROUP
from contacts.timeline.timeline import PAGE
from crm_chassis.apikeys import keep_key, new_api_key
from crm_chassis.http.reads import CHECKPOINTS

from tests.bench.bench import Bench
from tests.bench.filled import fill_customer_files
from tests.bench.load import customer, latency, open_loop
from tests.bench.processes import running, service
from tests.bench.product import contacts_on
from tests.bench.row import Contestant, Kind, Row, Run, at_most

CUSTOMERS = 1_000_000
RATE = 50
SECONDS = 20
WARM_SECONDS = 3
HOT_SHARE = 0.1
"""Of requests, that ask for a customer with a hundred entries more."""


@asynccontextmanager
async def contestants(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    customers = bench.size(CUSTOMERS, quick=10_000)
    seconds = bench.size(SECONDS, quick=4)

    async with contacts_on(bench) as placed:
        pool = placed.core.pool
        await fill_customer_files(pool, customers)
        key = new_api_key()
        await keep_key(pool, key, name="bench", scopes=["people:read"])
        api = service(bench, "contacts", placed.url, role="api")

        async def asking(kind: Kind, who: str, read: Callable[[UUID], Awaitable[bool]]) -> Run:
            chosen = drawn(customers, RATE * (seconds + WARM_SECONDS))
            took, right = [0.0] * len(chosen), [False] * len(chosen)

            async def send(n: int, due: float) -> None:
                right[n] = await read(chosen[n])
                took[n] = time.perf_counter() - due

            await open_loop(send, rate=RATE, seconds=WARM_SECONDS)
            async with bench.timed() as timed:
                late = await open_loop(send, rate=RATE, seconds=seconds)
            count = len(late)
            return timed.run(
                kind,
                who,
                events=count,
                latency=latency(took[:count], late),
                correct=all(right[:count]),
                settings={"customers": customers, "requests/s": RATE, "seconds": seconds},
            )

        async with running(bench, api=api), client_of(api.url, key) as client:

            async def over_http(asked: UUID) -> bool:
                answer = await client.get(f"/customers/{asked}")
                return answer.is_success and f'"customer_id":"{asked}"'.encode() in answer.content

            async def bare(asked: UUID) -> bool:
                await pool.fetch(CHECKPOINTS)
                found = await pool.fetch(GROUP, asked)
                await pool.fetch(SCORES_OF, [asked])
                await pool.fetch(DEALS_OF, [asked])
                await pool.fetch(PAGE, [asked], None, None, None, FIRST_ENTRIES + 1)
                return found[0]["customer_id"] == asked

            async def kith() -> Run:
                return await asking("kith", "GET /customers/{id}", over_http)

            async def ceiling() -> Run:
                return await asking("ceiling", "its five statements, bare asyncpg", bare)

            yield kith, ceiling


def drawn(customers: int, count: int) -> list[UUID]:
    """Whom to ask for: anybody alike, and one in ten times somebody with much to show."""
    rng = random.Random(customers)  # noqa: S311  # the same customers each time, no secret
    return [
        customer(
            rng.randrange(customers // 100) * 100 + 1
            if rng.random() < HOT_SHARE
            else rng.randint(1, customers)
        )
        for _ in range(count)
    ]


@asynccontextmanager
async def client_of(url: str, key: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as client:
        yield client


ROWS = (
    Row(
        "customer-file",
        does="the whole customer, 1 M customers, 50 requests/s, open loop, the API a process",
        contestants=contestants,
        bars=(at_most(20, "ms", figure="p99_ms"),),
        figure="p99_ms",
        unit="ms at p99",
        keys="any customer alike, one in ten with 100 entries more",
        promises={
            "GET /customers/{id}": "says how fresh it is",
            "its five statements": "the same rows; no key asked for, nothing put together",
        },
    ),
)
