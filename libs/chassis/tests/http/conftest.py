"""A pool without a server, and a caller with a key."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from crm_chassis.apikeys import keep_key, new_api_key
from crm_store.database import close_pool, open_pool

NOWHERE = "postgresql://probe@127.0.0.1:1/probe"


@pytest.fixture
async def absent() -> AsyncIterator[asyncpg.Pool]:
    """A pool whose server is away."""
    async with open_pool(NOWHERE, application_name="probe", max_size=1) as opened:
        yield opened
        await close_pool(opened)


@pytest.fixture
async def key(pool: asyncpg.Pool) -> str:
    """The key of a caller who may read things."""
    made = new_api_key()
    await keep_key(pool, made, name="reader", scopes=["things:read"])
    return made
