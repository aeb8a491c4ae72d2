"""The statements of the product that bare loops run, on a real log."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
from crm_projections.checkpoints import standing_at
from crm_store import migrations
from crm_store.log.position import START, Position
from crm_store.log.statements import guarded

from tests.bench.checkpoint import moved, register


async def test_a_bare_loop_stands_at_the_start_and_moves_from_there(database):
    await migrations.install(database)
    connection = await asyncpg.connect(database)
    end, at = Position(1, 1_000, 7), datetime(2026, 5, 4, tzinfo=UTC)

    await register(connection, "bare", 2)
    before = await standing_at(connection, "bare", 2)
    move = guarded(moved("bare", 2, start=START, end=end, recorded_at=at), [])
    await connection.execute(move.sql, *move.args)
    after = await standing_at(connection, "bare", 2)
    await connection.close()

    assert (before, after) == (START, end)
