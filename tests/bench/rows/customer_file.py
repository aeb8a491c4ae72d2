"""The customer file over HTTP among 1 M customers, asked for 50 times a second."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
from contacts.customer_file.api import FIRST_ENTRIES
from contacts.customer_file.deals import OF_CUSTOMERS as DEALS_OF
from contacts.customer_file.scores import OF_CUSTOMERS as SCORES_OF
from contacts.people.directory import GROUP
from contacts.timeline.timeline import PAGE
from crm_chassis.apikeys import keep_key, new_api_key
from crm_chassis.http.reads import CHECKPOINTS

from tests.bench.asking import Asking
from tests.bench.bench import Bench
from tests.bench.calling import caller_of
from tests.bench.filled import fill_customer_files
from tests.bench.load import customer
from tests.bench.processes import running, service
from tests.bench.product import contacts_on
from tests.bench.row import Contestant, Row, at_most

CUSTOMERS = 1_000_000
RATE = 50
SECONDS = 20
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

        asking = Asking(RATE, seconds, {"customers": customers})
        chosen = drawn(customers, asking.count)

        async with running(bench, api=api), caller_of(api.url, key) as caller:

            async def over_http(n: int) -> bool:
                asked = chosen[n]
                file = await caller.get(f"/customers/{asked}")
                return f'"customer_id":"{asked}"'.encode() in file

            async def bare(n: int) -> bool:
                return await read_bare(pool, chosen[n])

            yield (
                lambda: asking.run(bench, "kith", "GET /customers/{id}", over_http),
                lambda: asking.run(bench, "ceiling", "its five statements, bare asyncpg", bare),
            )


async def read_bare(pool: asyncpg.Pool, asked: UUID) -> bool:
    """The five statements of a customer file; did they find the customer?"""
    await pool.fetch(CHECKPOINTS)
    found = await pool.fetch(GROUP, asked)
    await pool.fetch(SCORES_OF, [asked])
    await pool.fetch(DEALS_OF, [asked])
    await pool.fetch(PAGE, [asked], None, None, None, FIRST_ENTRIES + 1)
    return found[0]["customer_id"] == asked


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
            "its four statements": "the same rows, before a file had deals",
        },
    ),
)
