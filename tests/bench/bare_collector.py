"""The smallest HTTP application that puts a batch into contacts' log: the collector's ceiling.

Served as the product serves HTTP; it parses the JSON and runs the collector's statement. Nothing
is checked or sealed, no key is asked for and no user looked up.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from crm_chassis.database import SESSION_LIMITS
from crm_chassis.http.serving import http_loop
from crm_chassis.ids import derived_id
from crm_chassis.lifecycle import run_until_signalled
from crm_chassis.log.append import APPEND_FACTS
from crm_chassis.partitioning import partition_of
from crm_events.contacts import EventTracked
from crm_events.topics import ACTIVITY

from tests.bench.product import FACTS

CONNECTIONS = 4
ANSWER = b'{"success":true}'
partition = lru_cache(maxsize=100_000)(partition_of)


def arguments(messages: Sequence[Mapping[str, Any]], now: datetime) -> tuple[Any, ...]:
    """What the statement is given for a batch of tracked events."""
    ids = [derived_id(FACTS, one["messageId"]) for one in messages]
    keys = [UUID(one["userId"]) for one in messages]
    count = len(messages)
    return (
        1, now, ids, [1] * count, ids, [EventTracked.type] * count,
        [EventTracked.version] * count, keys, [now] * count, [ACTIVITY.name] * count,
        [partition(key, ACTIVITY.partitions) for key in keys],
        [
            orjson.dumps(
                {
                    "customer_id": one["userId"],
                    "message_id": one["messageId"],
                    "source": "bench",
                    "name": one["event"],
                    "sealed": one["properties"],
                }
            ).decode()
            for one in messages
        ],
        [None] * count,
    )  # fmt: skip


def application(pool: asyncpg.Pool) -> Any:
    """ASGI: every request with a body is a batch."""

    async def app(_: object, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        if body:
            now = datetime.now(UTC)  # noqa: TID251  # the edge
            await pool.fetch(APPEND_FACTS, *arguments(orjson.loads(body)["batch"], now))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    return app


async def run(stop: Any) -> bool:
    url, port = os.environ["CONTACTS_DATABASE_URL"], int(os.environ["CONTACTS_HTTP_PORT"])
    async with asyncpg.create_pool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=SESSION_LIMITS
    ) as pool:
        await http_loop(application(pool), host="127.0.0.1", port=port)(stop, beat=lambda: None)
    return True


if __name__ == "__main__":
    raise SystemExit(run_until_signalled(run))
