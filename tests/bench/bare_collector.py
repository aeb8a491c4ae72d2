"""The smallest HTTP application that puts a batch into contacts' log: the collector's ceiling.

Served as the product serves HTTP; it parses the JSON and runs the collector's statement. Nothing
is checked or sealed, no key is asked for and no user looked up. Told `unknown`, it takes every
user for a new one: minted, reserved and stored with a key that was never made.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from contacts.subject_keys import ADD
from crm_chassis.http.serving import http_loop
from crm_chassis.lifecycle import run_until_signalled
from crm_events.contacts import EventTracked, PersonRegistered
from crm_events.topics import ACTIVITY, PEOPLE
from crm_store.database import SESSION_LIMITS
from crm_store.ids import derived_id, new_id
from crm_store.log.append import APPEND_FACTS, APPEND_STREAMS
from crm_store.log.entries import Statement
from crm_store.log.statements import followed
from crm_store.partitioning import partition_of

from tests.bench.product import FACTS, KEK

CONNECTIONS = 4
ANSWER = b'{"success":true}'
WRAPPED = "0" * 80
"""Of the length of a key that was wrapped."""
Messages = Sequence[Mapping[str, Any]]
partition = lru_cache(maxsize=100_000)(partition_of)


async def append_known(pool: asyncpg.Pool, messages: Messages, now: datetime) -> None:
    """Facts of users who are known: what they are called is their customer id."""
    keys = [UUID(one["userId"]) for one in messages]
    await pool.fetch(APPEND_FACTS, 1, now, *columns(messages, keys, now))


async def append_unknown(pool: asyncpg.Pool, messages: Messages, now: datetime) -> None:
    """Facts of users each of whom is registered with the first."""
    keys, count = [new_id() for _ in messages], len(messages)
    digests = [hashlib.sha256(one["userId"].encode()).digest() for one in messages]
    people = (
        keys, [1] * count, [new_id() for _ in messages], [PersonRegistered.type] * count,
        [PersonRegistered.version] * count, keys, [now] * count, [PEOPLE.name] * count,
        [partition_of(key, PEOPLE.partitions) for key in keys],
        [
            orjson.dumps(
                {
                    "customer_id": str(key),
                    "identifiers": [{"namespace": "user", "sealed": one["userId"]}],
                    "sealed": {str(key): WRAPPED},
                }
            ).decode()
            for key, one in zip(keys, messages, strict=True)
        ],
        [None] * count,
    )  # fmt: skip
    both = [
        [*first, *then] for first, then in zip(people, columns(messages, keys, now), strict=True)
    ]
    rows = Statement(
        APPEND_STREAMS,
        (1, now, keys, [0] * count, ["user"] * count, digests, keys, *both),
    )
    kept = Statement(ADD, ([str(key) for key in keys], KEK.kek_id, [WRAPPED] * count))
    statement = followed(rows, [kept])
    await pool.fetch(statement.sql, *statement.args)


def columns(messages: Messages, keys: Sequence[UUID], now: datetime) -> tuple[list[Any], ...]:
    """The columns of a batch of tracked events, a stream each."""
    ids = [derived_id(FACTS, one["messageId"]) for one in messages]
    count = len(messages)
    return (
        ids, [1] * count, ids, [EventTracked.type] * count, [EventTracked.version] * count, keys,
        [now] * count, [ACTIVITY.name] * count,
        [partition(key, ACTIVITY.partitions) for key in keys],
        [
            orjson.dumps(
                {
                    "customer_id": str(key),
                    "message_id": one["messageId"],
                    "source": "bench",
                    "name": one["event"],
                    "sealed": one["properties"],
                }
            ).decode()
            for key, one in zip(keys, messages, strict=True)
        ],
        [None] * count,
    )  # fmt: skip


def application(
    pool: asyncpg.Pool, append: Callable[[asyncpg.Pool, Messages, datetime], Awaitable[None]]
) -> Any:
    """ASGI: every request with a body is a batch."""

    async def app(_: object, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        if body:
            now = datetime.now(UTC)  # noqa: TID251  # the edge
            await append(pool, orjson.loads(body)["batch"], now)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    return app


async def run(stop: Any) -> bool:
    url, port = os.environ["CONTACTS_DATABASE_URL"], int(os.environ["CONTACTS_HTTP_PORT"])
    append = append_unknown if sys.argv[1] == "unknown" else append_known
    async with asyncpg.create_pool(
        url, min_size=CONNECTIONS, max_size=CONNECTIONS, server_settings=SESSION_LIMITS
    ) as pool:
        await http_loop(application(pool, append), host="127.0.0.1", port=port)(
            stop, beat=lambda: None
        )
    return True


if __name__ == "__main__":
    raise SystemExit(run_until_signalled(run))
