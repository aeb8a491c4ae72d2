"""Commands that are sent again under their `Idempotency-Key`: done once, answered alike.

What is kept is a receipt, which says nothing of whom it is about: no erasure has to reach it.
Source: IETF draft-ietf-httpapi-idempotency-key-header.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg
import orjson
from crm_store.database import pause
from crm_store.errors import is_dependency_error
from crm_store.log.entries import Statement
from crm_store.log.position import Position
from fastapi import Request

from crm_chassis.http.problems import Problem, invalid_input
from crm_chassis.http.reads import Receipt

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT_HOURS: Final = 24
TIDY_EVERY_S: Final = 600.0
TIDY_ROWS: Final = 1_000
TABLE: Final = "idempotent_answer"
_KEY: Final = re.compile(r"[!-~]{1,255}", re.ASCII)

FIND: Final = f"""
select a.digest, a.answer::text as answer, a.wrote,
       a.at < now() - interval '{KEPT_HOURS} hours' as old, l.epoch, l.xid::text as xid, l.gp
from {TABLE} a
left join log l on l.stream_id = a.stream_id and l.version = a.version and l.sequence is null
where a.caller = $1 and a.key = $2
"""  # noqa: S608  # constants only
FORGET: Final = f"""
delete from {TABLE} where caller = $1 and key = $2 and at < now() - interval '{KEPT_HOURS} hours'
"""  # noqa: S608  # constants only
KEEP: Final = f"""
insert into {TABLE} (caller, key, digest, stream_id, version, wrote, answer)
values ($1, $2, $3, $4, $5, $6, $7::text::jsonb)
"""  # noqa: S608  # constants only
TIDY: Final = f"""
delete from {TABLE} where ctid = any(array(
    select ctid from {TABLE} where at < now() - interval '{KEPT_HOURS} hours' limit {TIDY_ROWS}))
"""  # noqa: S608  # constants only

R = TypeVar("R", bound=Receipt)


class MoreThanAReceiptError(TypeError):
    """An answer was to be kept that says more than a receipt: an erasure would not reach it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as its caller named it. `digest` tells one request from another."""

    caller: str
    key: str
    digest: bytes

    def item(self, number: int) -> "Asked":
        """The same of one item of a bulk command."""
        return replace(self, key=f"{self.key}#{number}")

    async def answered(self, pool: asyncpg.Pool, kind: type[R]) -> R | None:
        """The answer that was given, if it was.

        Answers 422 where the key was used for another request.
        """
        row = await pool.fetchrow(FIND, self.caller, self.key)
        if row is None:
            return None
        if row["old"]:
            await pool.execute(FORGET, self.caller, self.key)
            return None
        if row["digest"] != self.digest:
            detail = "This Idempotency-Key came with another request before."
            raise Problem(422, "idempotency-key-reused", detail)
        told: Mapping[str, Any] = orjson.loads(row["answer"])
        at = Position(row["epoch"], int(row["xid"]), row["gp"]) if row["wrote"] else None
        return kind.model_validate({**told, "position": None if at is None else str(at)})

    def keeps(self, answer: Receipt, *, wrote: bool) -> Statement:
        """What keeps an answer; `wrote`: its version was written along.

        Running it a second time violates its key, so nothing of that is written: see `once`.

        Raises MoreThanAReceiptError: what else is to be told is looked up for each answer.
        """
        if type(answer).model_fields.keys() != Receipt.model_fields.keys():
            raise MoreThanAReceiptError(type(answer).__name__)
        told = orjson.dumps({**answer.model_dump(mode="json"), "position": None}).decode()
        return Statement(
            KEEP,
            (self.caller, self.key, self.digest, answer.stream_id, answer.version, wrote, told),
        )


async def once(
    asked: Asked | None, pool: asyncpg.Pool, kind: type[R], attempt: Callable[[], Awaitable[R]]
) -> R:
    """Do a command that has not been done yet, else give the answer that it was given.

    Looks again before it is refused: who was faster wrote the answer with what is in the way now.
    """
    if asked is None:
        return await attempt()
    if (given := await asked.answered(pool, kind)) is not None:
        return given
    try:
        return await attempt()
    except Exception as error:
        if is_dependency_error(error):
            raise
        if (given := await asked.answered(pool, kind)) is not None:
            return given
        raise


async def asked_by(request: Request, key: str | None) -> Asked | None:
    """The command of a request, whose caller is known; None without a key.

    Answers 422 where the key is none.
    """
    if key is None:
        return None
    if _KEY.fullmatch(key) is None:
        raise invalid_input("header", "/Idempotency-Key", "is 1 to 255 visible ASCII characters")
    told = (request.method, request.url.path, request.headers.get("if-match", ""))
    digest = hashlib.sha256("\n".join(told).encode() + b"\n" + await request.body()).digest()
    return Asked(request.state.caller, key, digest)


async def forget_answers(
    stop: asyncio.Event, *, beat: Callable[[], None], pool: asyncpg.Pool
) -> None:
    """Delete answers older than 24 h until `stop`."""
    while not stop.is_set():
        while await pool.execute(TIDY) == f"DELETE {TIDY_ROWS}":
            beat()
        until = asyncio.get_running_loop().time() + TIDY_EVERY_S
        while asyncio.get_running_loop().time() < until and not await pause(stop, 1.0):
            beat()
