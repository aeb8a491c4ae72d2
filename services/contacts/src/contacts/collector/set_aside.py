"""Messages that were refused out of a batch that was taken: kept encrypted, with their reason."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from crm_store.ids import derived_id
from crm_store.log.entries import Statement
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg
    from crm_events.keys import Kek

    from contacts.collector.received import Refused, Request

SET_ASIDE: Final = UUID("6b1de0ac-5e0f-5c7a-8a3c-0f8a2e3f9d42")
"""Namespace of the rows' ids: uuid5 of source and content, so that a resent batch adds none."""

NONCE_BYTES: Final = 12
KEY_BYTES: Final = 32
PURPOSE: Final = b"kith contacts: messages set aside"
PAGE_ROWS: Final = 100

ADD: Final = """
insert into set_aside (id, source, received_at, code, pointer, kek_id, sealed)
select u.id, $2, $3, u.code, u.pointer, $6, u.sealed
from unnest($1::uuid[], $4::text[], $5::text[], $7::bytea[]) as u(id, code, pointer, sealed)
on conflict (id) do nothing
"""
PAGE: Final = """
select a.id, a.source, a.received_at, a.code, a.pointer, a.kek_id, a.sealed from set_aside a
where ($1::timestamptz is null or (a.received_at, a.id) < ($1, $2))
order by a.received_at desc, a.id desc limit $3
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A message as it came, and why it could not be taken."""

    id: UUID
    source: str
    received_at: datetime
    code: str
    pointer: str  # RFC 6901, within the message
    reason: str
    content: str | None  # JSON text; None: too deep, or its key-encryption key is gone


class Drawer:
    """Where refused messages lie, encrypted under a key derived from the deployment's."""

    def __init__(self, *, pool: asyncpg.Pool, keks: Sequence[Kek]) -> None:
        self._pool = pool
        self._current = keks[0].kek_id
        self._ciphers: Mapping[str, AESGCM] = {
            kek.kek_id: AESGCM(
                HKDF(SHA256(), KEY_BYTES, salt=None, info=PURPOSE).derive(kek.material)
            )
            for kek in keks
        }

    def statements(self, request: Request, refused: Sequence[Refused]) -> tuple[Statement, ...]:
        """What adds the refused messages, within the transaction that takes the others."""
        rows = [self._row(request.source, one) for one in refused if one.error.code != "erased"]
        if not rows:
            return ()
        ids, codes, pointers, sealed = (list(column) for column in zip(*rows, strict=True))
        return (
            Statement(
                ADD,
                (ids, request.source, request.received_at, codes, pointers, self._current, sealed),
            ),
        )

    async def page(self, before: tuple[datetime, UUID] | None) -> list[Kept]:
        """The newest rows before that one, at most 100, opened."""
        at, row_id = before or (None, None)
        rows = await self._pool.fetch(PAGE, at, row_id, PAGE_ROWS)
        return [self._opened(row) for row in rows]

    def _row(self, source: str, refused: Refused) -> tuple[UUID, str, str, bytes]:
        told = {"reason": refused.error.reason, "content": _text(refused.raw)}
        content = json.dumps(told).encode()
        row_id = derived_id(SET_ASIDE, source, hashlib.sha256(content).hexdigest())
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self._ciphers[self._current].encrypt(nonce, content, row_id.bytes)
        return row_id, refused.error.code, refused.error.pointer, sealed

    def _opened(self, row: asyncpg.Record) -> Kept:
        cipher = self._ciphers.get(row["kek_id"])
        told: dict[str, str | None] = {"reason": "its key-encryption key is gone", "content": None}
        if cipher is not None:
            sealed: bytes = row["sealed"]
            nonce, blob = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            told = json.loads(cipher.decrypt(nonce, blob, row["id"].bytes))
        return Kept(
            id=row["id"],
            source=row["source"],
            received_at=row["received_at"],
            code=row["code"],
            pointer=row["pointer"],
            reason=told["reason"] or "",
            content=told["content"],
        )


def _text(raw: object) -> str | None:
    """JSON in ASCII, so that lone surrogates and NaN are kept as they came."""
    try:
        return json.dumps(raw)
    except RecursionError:
        return None
