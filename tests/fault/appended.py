"""Events that a fault appends itself, many at once; they count as acknowledged and are judged."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from crm_store.clock import utc_now
from crm_store.ids import new_id
from crm_store.partitioning import partition_of

from tests.fault.load import Sent
from tests.fault.purchases import PARTITIONS, TOPIC

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tests.fault.world import World

PRICE: Final = Decimal("1.00")
AT_ONCE: Final = 500
"""A transaction that stays open holds every tail back, and what waits for that waits for nobody."""
APPEND: Final = """
insert into log (epoch, recorded_at, stream_id, version, event_id, type, schema_version,
                 partition_key, occurred_at, topic, partition, data)
select (select max(epoch) from log_epoch), now(), u.id, 1, u.id, 'contacts.purchase.completed', 1,
       u.customer, $5::timestamptz, $6::text, u.partition, u.data::json
from unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[]) with ordinality
    as u(id, customer, partition, data, n) order by u.n
"""
MEND: Final = """
update log l set data = u.data::json from unnest($1::uuid[], $2::text[]) as u(id, data)
where l.event_id = u.id
"""


async def append(
    world: World, customers: Sequence[UUID], *, bad: int = 0, padding: str = ""
) -> list[UUID]:
    """Append purchases, one for each of these new customers, in this order; their event ids.

    As a publisher with a bug: the first `bad` nobody can read. `padding` makes them long.
    """
    ids = [new_id() for _ in customers]
    bearers = [_bearer(world, customer) for customer in customers]
    numbers = [len(world.load.accepted[bearer]) for bearer in bearers]
    seen: Counter[str] = Counter()
    at = utc_now()
    data = []
    for n, (id_, customer, bearer) in enumerate(zip(ids, customers, bearers, strict=True)):
        seen[bearer] += 1
        numbers[n] += seen[bearer]
        told = _data(world, id_, customer, numbers[n], padding=padding)
        data.append(json.dumps(told if n >= bad else {**told, "total": "no money"}))
    partitions = [partition_of(customer, PARTITIONS) for customer in customers]
    rows = [*zip(ids, customers, partitions, data, strict=True)]
    async with world.database("contacts") as contacts:
        for n in range(0, len(rows), AT_ONCE):
            columns = map(list, zip(*rows[n : n + AT_ONCE], strict=True))
            await contacts.execute(APPEND, *columns, at, TOPIC)
    for bearer, number in zip(bearers, numbers, strict=True):
        world.load.accepted[bearer].append(Sent(bearer, number, "purchase", at, PRICE))
    world.timeline.note(f"{len(ids)} purchases appended, {bad} of them unreadable")
    return ids


async def mend(world: World, customers: Sequence[UUID], ids: Sequence[UUID]) -> None:
    """The next release reads them: here, they become what this one reads.

    `ids` are the first events of these customers, in order, one for each.
    """
    seen: Counter[UUID] = Counter()
    data = []
    for customer, id_ in zip(customers, ids, strict=True):
        seen[customer] += 1
        data.append(json.dumps(_data(world, id_, customer, seen[customer])))
    for service in ("contacts", "analytics"):
        async with world.database(service) as connection:
            await connection.execute(MEND, list(ids), data)
    world.timeline.note("what was unreadable can be read")


def _bearer(world: World, customer: UUID) -> str:
    return f"{world.load.seed}p{customer.hex}"


def _data(
    world: World, event_id: UUID, customer: UUID, number: int, *, padding: str = ""
) -> dict[str, object]:
    told: dict[str, object] = {
        "customer_id": str(customer),
        "message_id": f"{world.load.seed}-{_bearer(world, customer)}-{number}",
        "source": "fault",
        "order_id": str(event_id),
        "total": {"amount": str(PRICE), "currency": "EUR"},
        "products": [],
    }
    return {**told, "padding": padding} if padding else told
