"""The least that a fold is: the product's statements one after the other, sums in a dictionary."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import asyncpg
import orjson
from analytics.engagement.engagement import READ_SUMS, WRITE_SUMS
from analytics.engagement.model import ScoringModel
from crm_events.contacts import OrderCompleted
from crm_projections.checkpoints import NO_WAIT, standing_at
from crm_projections.pages import PAGE_ROWS
from crm_store.log.entries import Statement
from crm_store.log.position import LAST, Position, bounds
from crm_store.log.statements import guarded
from crm_store.log.tail import GLANCES, position_of

from tests.bench.checkpoint import moved, register
from tests.bench.heard import weight_of

READ_BUYING: Final = """
select customer_id, currency, orders, spent, first_order_at, last_order_at from buying
where customer_id = any($1::uuid[])
"""
WRITE_BUYING: Final = """
insert into buying (customer_id, currency, orders, spent, refunds, refunded, first_order_at,
                    last_order_at)
select u.id, u.currency, u.orders, u.spent, 0, 0, u.first_at, u.last_at
from unnest($1::uuid[], $2::text[], $3::bigint[], $4::numeric[], $5::timestamptz[],
            $6::timestamptz[]) as u(id, currency, orders, spent, first_at, last_at)
order by u.id, u.currency
on conflict (customer_id, currency) do update set orders = excluded.orders,
    spent = excluded.spent, first_order_at = excluded.first_order_at,
    last_order_at = excluded.last_order_at
"""


@dataclass
class Bought:
    """Of a customer in one currency."""

    orders: int
    spent: Decimal
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class PlainLoop:
    """Folds purchases: into the score of a model and, where it `buys`, into `buying`."""

    connection: asyncpg.Connection
    model: ScoringModel
    buys: bool = False

    async def begin(self) -> Position:
        """Where the model stands; the start of the log where nobody folded it yet."""
        name, version = self.model.projection, self.model.version
        await register(self.connection, name, version)
        return await standing_at(self.connection, name, version)

    async def run(self) -> None:
        """Fold to the end of the log."""
        at: Position | None = await self.begin()
        while at is not None:
            at = await self.turn(at)

    async def turn(self, at: Position) -> Position | None:
        """Fold the next page; its end, or None where there is none."""
        model, decoded = self.model, [OrderCompleted.type] if self.buys else []
        row = await self.connection.fetchrow(
            GLANCES, *bounds(at, LAST), PAGE_ROWS, list(model.types), [], decoded
        )
        if row is None:
            return None
        writes = [await self._scored(row)]
        if self.buys:
            writes.append(await self._bought(row))
        end = position_of(row)
        move = moved(
            model.projection, model.version, start=at, end=end, recorded_at=row["recorded_at"]
        )
        statement = guarded(move, writes)
        await self.connection.fetchval(statement.sql + NO_WAIT, *statement.args)
        return end

    async def _scored(self, row: asyncpg.Record) -> Statement:
        model = self.model
        rate, landmark, weight = (
            model.decay.rate,
            model.landmark,
            math.log(weight_of(model, OrderCompleted)),
        )
        sums: dict[UUID, list[float]] = {}
        last: dict[UUID, datetime] = {}
        for customer, when in zip(row["keys"], row["occurred"], strict=True):
            term = weight + rate * (when - landmark).total_seconds()
            sums.setdefault(customer, []).append(term)
            if customer not in last or when > last[customer]:
                last[customer] = when
        ids = ",".join(map(str, sums))
        known = await self.connection.fetchrow(READ_SUMS, model.model_id, ids)
        before = dict(
            zip(known[0] or (), zip(known[1] or (), known[3] or (), strict=True), strict=True)
        )
        s, counted = [], []
        for customer, terms in sums.items():
            s_before, n_before = before.get(customer, (None, 0))
            every = terms if s_before is None else [s_before, *terms]
            largest = max(every)
            s.append(largest + math.log(sum(math.exp(term - largest) for term in every)))
            counted.append(n_before + len(terms))
        empty, nothing = _array(["null"] * len(s)), _array([0] * len(s))
        return Statement(
            WRITE_SUMS,
            (model.model_id, ids, _array(s), empty, _array(counted), nothing,
             _array(last.values())),
        )  # fmt: skip

    async def _bought(self, row: asyncpg.Record) -> Statement:
        found = await self.connection.fetch(READ_BUYING, list(set(row["keys"])))
        before = {(one[0], one[1]): Bought(*tuple(one)[2:]) for one in found}
        after: dict[tuple[UUID, str], Bought] = {}
        for customer, when, data in zip(row["keys"], row["occurred"], row["data"], strict=True):
            total = orjson.loads(data)["total"]
            key, amount = (customer, total["currency"]), Decimal(total["amount"])
            own = after.get(key)
            if own is None:
                own = after[key] = before.get(key) or Bought(0, Decimal(0), when, when)
            own.orders += 1
            own.spent += amount
            own.first_at, own.last_at = min(own.first_at, when), max(own.last_at, when)
        bought = list(after.values())
        return Statement(
            WRITE_BUYING,
            ([customer for customer, _ in after], [currency for _, currency in after],
             [one.orders for one in bought], [one.spent for one in bought],
             [one.first_at for one in bought], [one.last_at for one in bought]),
        )  # fmt: skip


def _array(values: Iterable[object]) -> str:
    """As PostgreSQL reads it; none of them needs quotes."""
    return "{" + ",".join(map(str, values)) + "}"
