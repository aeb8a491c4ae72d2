"""How fast this machine is, so that figures of two machines can be read side by side."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from tests.bench.bench import Bench
from tests.bench.row import Contestant, Row, Run

NOTE = "x" * 300


@asynccontextmanager
async def committing(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    commits = bench.size(4_000, quick=500)

    async def bare() -> Run:
        async with bench.database() as url:
            connection = await asyncpg.connect(url)
            await connection.execute("create table note (id bigint primary key, body text)")
            insert = await connection.prepare("insert into note values ($1, $2)")
            async with bench.timed() as timed:
                for n in range(commits):
                    await insert.fetch(n, NOTE)
            correct = await connection.fetchval("select count(*) from note") == commits
            await connection.close()
        return timed.run("ceiling", "bare asyncpg, one writer", events=commits, correct=correct)

    yield (bare,)


@asynccontextmanager
async def hashing(bench: Bench) -> AsyncIterator[Sequence[Contestant]]:
    rounds = bench.size(1_000_000, quick=100_000)

    async def bare() -> Run:
        digest, block = hashlib.sha256(), NOTE.encode()
        async with bench.timed() as timed:
            for _ in range(rounds):
                digest.update(block)
        return timed.run("ceiling", "CPython, one thread", events=rounds)

    yield (bare,)


ROWS = (
    Row(
        "machine.commits",
        does="a row of 300 bytes inserted and committed, one after the other",
        contestants=committing,
        unit="commits/s",
        promises={"bare asyncpg, one writer": "durable: fsync at each commit"},
    ),
    Row(
        "machine.python",
        does="300 bytes hashed in a loop",
        contestants=hashing,
        unit="rounds/s",
        promises={"CPython": "nothing is kept"},
    ),
)
