"""Segment's HTTP API: exactly 200 with a JSON object once everything is durable, or why not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from uuid import UUID

import orjson
from crm_chassis.errors import is_dependency_error, sqlstate
from crm_chassis.http.access import public, requires
from crm_chassis.http.pages import LONGEST_CURSOR, Page, read_cursor, write_cursor
from crm_events.errors import BadInputError
from crm_events.gate import LIMITS
from fastapi import APIRouter, Depends, Query, Request, Response
from prometheus_client import Counter
from pydantic import BaseModel, TypeAdapter
from starlette.requests import ClientDisconnect

from contacts.collector import body as bodies
from contacts.collector.body import RefusedRequestError
from contacts.collector.intake import Numbered, Refused
from contacts.collector.intake import Request as Intended
from contacts.collector.segment import (
    Arrival,
    Kind,
    check_message,
    instant,
    merged,
    read_message,
)
from contacts.collector.set_aside import PAGE_ROWS, Drawer
from contacts.people.registry import TooManyConflictsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from contacts.collector.intake import Intake

MOST_REQUESTS: Final = 64
MOST_BYTES: Final = 48 * 1024 * 1024
"""What may be in hand at once; beyond it senders are told to come back."""

RETRY_AFTER_SECONDS: Final = 1
NOT_MIGRATED: Final = "42P01"
DATA_CLASSES: Final = ("22", "54")

# Any page of any site may send; nothing is ever answered that a page could not know itself.
CROSS_ORIGIN: Final = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT: Final = {
    **CROSS_ORIGIN,
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding, X-Write-Key, "
    "X-Retry-Count, WriteKey",
    "Access-Control-Max-Age": "86400",
}
SUCCESS: Final = b'{"success":true}'

BATCH_ROUTES: Final = ("batch", "b")
CALL_ROUTES: Final = {
    **{kind.value: kind for kind in Kind},
    # Browsers' SDK sends each call to its first letter.
    **{kind.value[0]: kind for kind in Kind},
}

Place = TypeAdapter(tuple[datetime, UUID])
CursorQuery = Annotated[str | None, Query(max_length=LONGEST_CURSOR)]

MESSAGES: Final = Counter(
    "kith_collector_messages_total", "Messages by outcome: new, duplicate, set-aside.", ["outcome"]
)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the deployment decides about what arrives."""

    currency: str  # of orders that name none


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
        self._requests = 0
        self._bytes = 0

    async def answer(self, request: Request, kind: Kind | None) -> Response:
        """The answer to one request; `kind` is None for a batch."""
        if self._requests >= MOST_REQUESTS:
            return _away("busy", "Too much is in hand; send it again.")
        self._requests += 1
        try:
            return await self._answer(request, kind)
        except Exception as error:
            answer = _answer_to(error)
            if answer is None:
                raise
            return answer
        finally:
            self._requests -= 1

    async def _answer(self, request: Request, kind: Kind | None) -> Response:
        received_at = self._clock()
        # A key in the headers is looked up before anything is read of a body from anyone.
        write_key = bodies.write_key_of(cast("Mapping[str, str]", request.headers))
        source = None if write_key is None else await self._source(write_key)
        sent = await bodies.receive(request.stream())
        body = bodies.inflate(sent, request.headers.get("content-encoding"))
        if self._bytes + len(body) > MOST_BYTES:
            return _away("busy", "Too much is in hand; send it again.")
        self._bytes += len(body)
        try:
            return await self._take(body, kind, source, received_at)
        finally:
            self._bytes -= len(body)

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
        headers = dict(CROSS_ORIGIN)
        if taken.position is not None:
            headers["Kith-Position"] = str(taken.position)
        return Response(_success(taken.refused), headers=headers, media_type="application/json")

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


class KeptMessage(BaseModel):
    """A message that was refused out of a batch; `content` is its JSON text as it came."""

    id: UUID
    source: str
    received_at: datetime
    code: str
    pointer: str
    reason: str
    content: str | None


def collector_routes(collector: Collector, drawer: Drawer) -> APIRouter:
    """`/v1/...`, each with and without a slash at its end: SDKs do not follow redirects.

    Open to everybody as far as the chassis goes: callers are known by their write keys.
    """
    router = APIRouter(tags=["collector"], redirect_slashes=False)
    sending = [Depends(public())]

    async def preflight() -> Response:
        return Response(status_code=204, headers=PREFLIGHT)

    def takes(kind: Kind | None) -> Callable[[Request], Awaitable[Response]]:
        async def take(request: Request) -> Response:
            return await collector.answer(request, kind)

        return take

    routes: dict[str, Kind | None] = {**dict.fromkeys(BATCH_ROUTES), **CALL_ROUTES}
    for name, kind in routes.items():
        documented = name in {"batch", *Kind}
        for path in (f"/v1/{name}", f"/v1/{name}/"):
            router.add_api_route(
                path,
                takes(kind),
                methods=["POST"],
                dependencies=sending,
                operation_id=f"take_{name}",
                summary="A batch of calls" if kind is None else f"One {kind.value} call",
                include_in_schema=documented and not path.endswith("/"),
            )
            router.add_api_route(
                path,
                preflight,
                methods=["OPTIONS"],
                dependencies=sending,
                include_in_schema=False,
            )

    @router.get("/collector/set-aside", dependencies=[Depends(requires("collector:read"))])
    async def set_aside(cursor: CursorQuery = None) -> Page[KeptMessage]:
        """Messages that were refused out of batches that were taken, the newest first."""
        kept = await drawer.page(read_cursor(Place, cursor))
        full = len(kept) == PAGE_ROWS
        return Page[KeptMessage](
            items=[KeptMessage(**asdict(one)) for one in kept],
            next=write_cursor(Place, (kept[-1].received_at, kept[-1].id)) if full else None,
        )

    return router


def _answer_to(error: Exception) -> Response | None:
    """What is said about an error; None for one that nobody foresaw."""
    state = sqlstate(error) or ""
    match error:
        case RefusedRequestError():
            return _error(error.status, error.code, error.message, error.detail)
        case ClientDisconnect():
            return _error(400, "cut-off", "The body ended early.")
        case TooManyConflictsError() | TimeoutError():
            return _away("busy", "It could not be written in time; send it again.")
        case _ if is_dependency_error(error) or state == NOT_MIGRATED:
            return _away("unavailable", "The database is away; send it again.")
        case _ if state.startswith(DATA_CLASSES):
            return _error(400, "unstorable", "The database refuses a value in it.")
        case _:
            return None


def _success(refused: Sequence[Refused]) -> bytes:
    if not refused:
        return SUCCESS
    aside = [
        {
            "index": one.at,
            "messageId": _message_id(one.raw),
            "code": one.error.code,
            "detail": f"{one.error.pointer or 'message'}: {one.error.reason}",
        }
        for one in refused
    ]
    return orjson.dumps({"success": True, "setAside": aside})


def _message_id(raw: object) -> str | int | None:
    """What the sender can find its message by, where that can be written."""
    told = cast("dict[str, Any]", raw).get("messageId") if isinstance(raw, dict) else None
    match told:
        case str() if len(told) <= LIMITS.max_id_bytes:
            return told.encode(errors="replace").decode()
        case _:
            return None


def _error(status: int, code: str, message: str, detail: str = "") -> Response:
    return Response(
        orjson.dumps({"code": code, "message": message, "detail": detail}),
        status,
        headers=CROSS_ORIGIN,
        media_type="application/json",
    )


def _away(code: str, message: str) -> Response:
    answer = _error(503, code, message)
    answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer
