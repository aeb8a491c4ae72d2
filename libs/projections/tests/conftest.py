from __future__ import annotations

import pytest
from probe import Probe
from summing import CREATE


@pytest.fixture
async def tables(probe: Probe) -> None:
    async with probe.pool.acquire() as connection:
        await connection.execute(CREATE)
