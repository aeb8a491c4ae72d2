"""Numbered events per customer from a seeded generator, sent as an SDK would, and remembered."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import httpx
import orjson

PER_SECOND: Final = 200
CUSTOMERS: Final = 60
SENDERS: Final = 6
BATCH: Final = 10
RETRY_SECONDS: Final = 0.2
GIVE_UP_SECONDS: Final = 180.0
APART: Final = timedelta(minutes=7)
LATE: Final = timedelta(days=3)
PAGES_OF_A_VISITOR: Final = 4


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that was acknowledged. `bearer` is the id it came by, `number` counts there."""

    bearer: str
    number: int
    kind: str  # purchase, refund, tracked, page, identify
    at: datetime
    amount: Decimal = Decimal(0)


Numbered = tuple[Sent, dict[str, Any]]
"""A message, and what is remembered of it."""


class RefusedError(Exception):
    """A batch was not taken for so long that its sender gave up."""


@dataclass
class Load:
    """Sends again, under the same ids, until it is told 200: then a message is acknowledged.

    A customer belongs to one sender, and a sender waits for each answer. So the numbers of a
    customer are accepted in order: message `<seed>-<bearer>-<n>` is the n-th of its bearer.
    """

    seed: int
    began: datetime
    collector: str
    write_key: str
    accepted: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    links: set[tuple[str, str]] = field(default_factory=set)  # (visitor, user)
    answers: Counter[int] = field(default_factory=Counter)  # by status; 0: no answer came
    _streams: dict[int, Iterator[Numbered]] = field(default_factory=dict)
    _unanswered: dict[int, list[Numbered]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(map(len, self.accepted.values()))

    async def send(self, stop: asyncio.Event, *, per_second: float = PER_SECOND) -> None:
        """Send at this rate until `stop`; every batch that was begun is seen through.

        Raises:
            ExceptionGroup: of RefusedError. What has no answer yet is sent first the next time.
        """
        async with httpx.AsyncClient(timeout=5) as client, asyncio.TaskGroup() as tasks:
            for sender in range(SENDERS):
                tasks.create_task(self._send_as(sender, client, stop, per_second / SENDERS))

    async def send_one_off(self, apart: timedelta) -> None:
        """One page view far away in time, of a customer of its own."""
        bearer = f"{self.seed}x{len(self.accepted)}"
        at = self.began + apart
        sent = Sent(bearer, 1, "page", at)
        message = {
            "type": "page",
            "messageId": f"{self.seed}-{bearer}-1",
            "userId": bearer,
            "timestamp": at.isoformat(),
        }
        async with httpx.AsyncClient(timeout=5) as client:
            await self._deliver(client, [message])
        self.accepted[bearer].append(sent)

    async def _send_as(
        self, sender: int, client: httpx.AsyncClient, stop: asyncio.Event, per_second: float
    ) -> None:
        stream = self._streams.setdefault(sender, self._messages(sender))
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            due = loop.time() + BATCH / per_second
            batch = self._unanswered.get(sender) or [next(stream) for _ in range(BATCH)]
            self._unanswered[sender] = batch
            await self._deliver(client, [message for _, message in batch])
            del self._unanswered[sender]
            for sent, message in batch:
                self.accepted[sent.bearer].append(sent)
                visitor = message.get("anonymousId")
                if sent.kind == "identify" and visitor:
                    self.links.add((visitor, sent.bearer))
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def _deliver(self, client: httpx.AsyncClient, batch: list[dict[str, Any]]) -> None:
        body = orjson.dumps({"batch": batch, "writeKey": self.write_key})
        loop = asyncio.get_running_loop()
        until = loop.time() + GIVE_UP_SECONDS
        while loop.time() < until:
            try:
                answer = await client.post(f"{self.collector}/v1/batch", content=body)
            except httpx.TransportError:
                self.answers[0] += 1
            else:
                self.answers[answer.status_code] += 1
                if answer.status_code == httpx.codes.OK:
                    assert answer.json() == {"success": True}, answer.text
                    return
                _must_say_come_back(answer)
            await asyncio.sleep(RETRY_SECONDS)
        raise RefusedError(f"a batch was refused for {GIVE_UP_SECONDS} s")

    def _messages(self, sender: int) -> Iterator[Numbered]:
        rng = random.Random(f"{self.seed}-{sender}")  # noqa: S311  # a repeatable load
        mine = [f"{self.seed}c{n:03d}" for n in range(CUSTOMERS) if n % SENDERS == sender]
        numbers: Counter[str] = Counter()
        visits: Counter[str] = Counter()
        while True:
            user = rng.choice(mine)
            kind = rng.choices(
                ("purchase", "refund", "tracked", "page", "identify", "visit"),
                (40, 8, 25, 20, 5, 2),
            )[0]
            if kind != "visit":
                yield self._message(kind, user, numbers, rng)
                continue
            visits[user] += 1
            visitor = f"{user}v{visits[user]}"
            for _ in range(PAGES_OF_A_VISITOR):
                yield self._message("page", visitor, numbers, rng)
            yield self._message("identify", user, numbers, rng, visitor=visitor)

    def _message(
        self,
        kind: str,
        bearer: str,
        numbers: Counter[str],
        rng: random.Random,
        *,
        visitor: str | None = None,
    ) -> Numbered:
        numbers[bearer] += 1
        number = numbers[bearer]
        at = self.began + number * APART + timedelta(microseconds=number)
        at -= LATE if rng.random() < 0.1 else timedelta(0)  # one in ten is late
        amount = Decimal(rng.randrange(100, 20_000)) / 100
        sent = Sent(bearer, number, kind, at, amount)
        is_user = "v" not in bearer
        message: dict[str, Any] = {
            "messageId": f"{self.seed}-{bearer}-{number}",
            "timestamp": at.isoformat(),
            "userId" if is_user else "anonymousId": bearer,
        }
        match kind:
            case "purchase" | "refund":
                message |= {
                    "type": "track",
                    "event": "Order Completed" if kind == "purchase" else "Order Refunded",
                    "properties": {
                        "order_id": f"{bearer}-{number}",
                        "total": str(amount),
                        "currency": "EUR",
                    },
                }
            case "tracked":
                message |= {"type": "track", "event": "Clicked", "properties": {"n": number}}
            case "page":
                message |= {"type": "page", "name": "Home", "properties": {"n": number}}
            case _:
                message |= {"type": "identify", "traits": {"plan": f"plan {number}"}}
        if visitor is not None:
            message["anonymousId"] = visitor
        return sent, message


def _must_say_come_back(answer: httpx.Response) -> None:
    """Whatever is away, a sender is told to send again: 503 says when; 408 that it was too slow."""
    if answer.status_code == httpx.codes.REQUEST_TIMEOUT:
        return
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
    assert "retry-after" in answer.headers, "503 says when to come back"
