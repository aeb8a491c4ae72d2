"""A desk whose receivers run on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from desk import Desk
from probe import Probe
from receiving import Calls, Mailbox, http_receiver, smtp_receiver
from summing import catch_up


@pytest.fixture
def calls() -> Iterator[Calls]:
    with http_receiver() as receiver:
        yield receiver


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with smtp_receiver() as receiver:
        yield receiver


@pytest.fixture
async def desk(probe: Probe, calls: Calls, mailbox: Mailbox) -> AsyncIterator[Desk]:
    async with httpx.AsyncClient() as client:
        desk = Desk(probe, calls, mailbox, client)
        await catch_up(desk.projector())
        yield desk
