"""What rows `inbox` and `relay` hold a copy against, on a real log."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from crm_events.topics import PURCHASES
from crm_store import migrations

from tests.bench.copies import heard, ids, owed

AT = datetime(2026, 5, 4, tzinfo=UTC)
ROW = """
insert into log (epoch, recorded_at, occurred_at, heard_at, stream_id, version, event_id, type,
                 schema_version, partition_key, topic, partition, sequence, data)
values (1, $1, $1, case when $4::bigint is not null then $1::timestamptz end, $2, 1, $2,
        'contacts.purchase.completed', 1, $2, $3, $5, $4, '{}')
"""


async def test_a_copy_in_another_order_or_under_other_numbers_is_not_what_is_owed(database):
    await migrations.install(database)
    one, two, three, four = (UUID(int=n, version=4) for n in (1, 2, 3, 4))
    connection = await asyncpg.connect(database)
    for event_id, partition in ((one, 0), (two, 1), (three, 0)):
        await connection.execute(ROW, AT, event_id, PURCHASES.name, None, partition)
    must_hold = await owed(database, PURCHASES)
    await connection.execute("delete from log")
    for event_id, partition, number in ((three, 0, 1), (two, 1, 1), (one, 0, 2), (four, 1, 3)):
        await connection.execute(ROW, AT, event_id, PURCHASES.name, number, partition)
    await connection.close()

    copy = await heard(database, PURCHASES)

    assert must_hold == {0: [(str(one), 1), (str(three), 2)], 1: [(str(two), 1)]}
    assert copy == {0: [(str(three), 1), (str(one), 2)], 1: [(str(two), 1), (str(four), 3)]}
    assert ids(copy) == {0: [str(three), str(one)], 1: [str(two), str(four)]}
