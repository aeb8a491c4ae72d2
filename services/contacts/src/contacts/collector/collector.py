"""One request to the collector: who sends, what it holds, and what is answered."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from crm_events.errors import BadInputError
from prometheus_client import Counter

from contacts.collector import body as bodies
from contacts.collector.answers import refusal, success
from contacts.collector.body import (
    KEYLESS_RECEIVE_SECONDS,
    RECEIVE_SECONDS,
    RefusedRequestError,
)
from contacts.collector.fields import instant
from contacts.collector.received import Numbered, Refused
from contacts.collector.received import Request as Intended
from contacts.collector.segment import Arrival, check_message, merged, read_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping
    from datetime import datetime
    from uuid import UUID

    from starlette.requests import Request
    from starlette.responses import Response

    from contacts.collector.intake import Intake
    from contacts.collector.segment import Kind

MOST_REQUESTS: Final = 64
MOST_KEYLESS: Final = MOST_REQUESTS // 4
"""Of those, requests without a key in their headers: whoever sends them is not known yet."""
MOST_BYTES: Final = 48 * 1024 * 1024

MESSAGES: Final = Counter(
    "kith_collector_messages_total", "Messages by outcome: new, duplicate, set-aside.", ["outcome"]
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment decides about what arrives."""

    currency: str  # of orders that name none


class Room:
    """So much may be in hand at once; beyond it senders are told to come back."""

    def __init__(self, most: int) -> None:
        self._left = most

    @contextmanager
    def held(self, amount: int) -> Generator[None]:
        """Take up room for a while.

        Raises:
            RefusedRequestError: 503, there is not so much left.
        """
        if amount > self._left:
            raise RefusedRequestError(503, "busy", "Too much is in hand; send it again.")
        self._left -= amount
        try:
            yield
        finally:
            self._left += amount


class Collector:
    """Takes requests: who sends, what they hold, and the answer."""

    def __init__(
        self,
        *,
        intake: Intake,
        source_of: Callable[[str], Awaitable[str | None]],
        rules: Rules,
        clock: Callable[[], datetime],
        mint_id: Callable[[], UUID],
    ) -> None:
        self._intake = intake
        self._source_of = source_of  # a write key's name; None: no live key
        self._rules = rules
        self._clock = clock
        self._mint_id = mint_id
        self._requests = Room(MOST_REQUESTS)
        self._keyless = Room(MOST_KEYLESS)
        self._bytes = Room(MOST_BYTES)

    async def answer(self, request: Request, kind: Kind | None) -> Response:
        """The answer to one request; `kind` is None for a batch."""
        try:
            with self._requests.held(1):
                return await self._answer(request, kind)
        except Exception as error:
            answer = refusal(error)
            if answer is None:
                raise
            return answer

    async def _answer(self, request: Request, kind: Kind | None) -> Response:
        received_at = self._clock()
        # A key in the headers is looked up before anything is read of a body from anyone.
        write_key = bodies.write_key_of(cast("Mapping[str, str]", request.headers))
        if write_key is None:
            with self._keyless.held(1):
                sent = await bodies.receive(request.stream(), seconds=KEYLESS_RECEIVE_SECONDS)
                return await self._sent(request, sent, kind, None, received_at)
        source = await self._source(write_key)
        request.state.caller = source
        sent = await bodies.receive(request.stream(), seconds=RECEIVE_SECONDS)
        return await self._sent(request, sent, kind, source, received_at)

    async def _sent(  # what came, and from whom
        self,
        request: Request,
        sent: bytes,
        kind: Kind | None,
        source: str | None,
        received_at: datetime,
    ) -> Response:
        with self._bytes.held(len(sent)):
            body = bodies.inflate(sent, request.headers.get("content-encoding"))
            with self._bytes.held(len(body)):
                return await self._take(body, kind, source, received_at)

    async def _take(
        self, body: bytes, kind: Kind | None, source: str | None, received_at: datetime
    ) -> Response:
        if kind is None:
            batch = bodies.parse_batch(body)
        else:
            call = bodies.parse_one(body)
            batch = bodies.Batch({"writeKey": call.pop("writeKey", None)}, [call], clean=True)
        if source is None:
            source = await self._source(batch.envelope.get("writeKey"))
        try:
            arrival = self._arrival(source, received_at, batch.envelope)
            messages, refused = self._read(batch, kind, arrival)
        except BadInputError as error:  # of what holds for the whole batch
            raise bodies.refused(error) from error
        taken = await self._intake.take(
            Intended(source, received_at, messages, refused, keeps_refused=kind is None)
        )
        if kind is not None and taken.refused:
            raise bodies.refused(taken.refused[0].error)
        MESSAGES.labels(outcome="new").inc(taken.new)
        MESSAGES.labels(outcome="duplicate").inc(taken.duplicates)
        MESSAGES.labels(outcome="set-aside").inc(len(taken.refused))
        return success(taken.refused, taken.position)

    def _arrival(self, source: str, received_at: datetime, envelope: Mapping[str, Any]) -> Arrival:
        told = envelope.get("sentAt")
        sent_at = None if told is None else instant(told, "/sentAt")
        merged({}, envelope)
        return Arrival(
            source=source,
            received_at=received_at,
            sent_at=sent_at,
            mint_id=self._mint_id,
            currency=self._rules.currency,
        )

    def _read(
        self, batch: bodies.Batch, kind: Kind | None, arrival: Arrival
    ) -> tuple[tuple[Numbered, ...], tuple[Refused, ...]]:
        messages: list[Numbered] = []
        refused: list[Refused] = []
        for at, raw in enumerate(batch.messages):
            try:
                if not batch.clean:
                    check_message(raw)
                whole = merged(raw, batch.envelope)
                messages.append(Numbered(at, raw, read_message(whole, kind=kind, arrival=arrival)))
            except BadInputError as error:
                refused.append(Refused(at, raw, error))
        return tuple(messages), tuple(refused)

    async def _source(self, write_key: object) -> str:
        source = await self._source_of(write_key) if isinstance(write_key, str) else None
        if source is None:
            raise bodies.unknown_write_key()
        return source
