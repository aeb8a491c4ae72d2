"""API keys and write keys: made once, shown once, kept as a hash, found by it."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    import asyncpg

COLLECT: Final = "collect"
"""The one scope of a write key: it lets events in, and it lies open in web pages and apps."""

REMEMBERED_S: Final = 10.0
REMEMBERED_MOST: Final = 1_000
MOST_LISTED: Final = 1_000
PREFIX_LENGTH: Final = 8
WRITE_KEY_LENGTH: Final = 25  # and a "c" in front: the one shape that every SDK accepts

_ALPHABET: Final = string.ascii_lowercase + string.digits
_KEY: Final = re.compile(r"kith_[a-z0-9]{8}_[A-Za-z0-9_-]{43}|c[a-z0-9]{24}", re.ASCII)
_NAME: Final = re.compile(r"[\w.@ -]{1,100}")
_SCOPE: Final = re.compile(r"[a-z-]{1,40}:[a-z-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking: the name a key was made under, and what it may do."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class KeyListing:
    """What is kept of a key. `prefix` tells it from others; the key itself is not kept."""

    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


class BadKeyNameError(ValueError):
    """A name or a scope that a key cannot be made with."""


def new_api_key() -> str:
    """A key of 256 random bits: `kith_<8 characters to know it by>_<the secret>`."""
    prefix = "".join(secrets.choice(_ALPHABET) for _ in range(PREFIX_LENGTH))
    return f"kith_{prefix}_{secrets.token_urlsafe(32)}"


def new_write_key() -> str:
    """A key for the collector, 124 random bits."""
    return "c" + "".join(secrets.choice(_ALPHABET) for _ in range(WRITE_KEY_LENGTH - 1))


async def keep_key(pool: asyncpg.Pool, key: str, *, name: str, scopes: Iterable[str]) -> None:
    """Let a key in. Several under one name are one caller: that is how a key is renewed.

    Raises BadKeyNameError.
    """
    wanted = sorted(set(scopes))
    if not _NAME.fullmatch(name):
        raise BadKeyNameError("a name is 1 to 100 letters, digits, blanks and . _ @ -")
    if wanted != [COLLECT] and not (wanted and all(map(_SCOPE.fullmatch, wanted))):
        raise BadKeyNameError(
            'scopes read like "scores:read" (name:verb), and there is at least one'
        )
    await pool.execute(
        "insert into api_key (sha256, name, prefix, scopes) values ($1, $2, $3, $4)",
        _hash(key),
        name,
        _prefix(key),
        wanted,
    )


async def list_keys(pool: asyncpg.Pool) -> list[KeyListing]:
    """Every key, the newest first, revoked ones too; at most 1,000."""
    rows = await pool.fetch(
        "select name, prefix, scopes, created_at, revoked_at from api_key"
        " order by created_at desc, prefix limit $1",
        MOST_LISTED,
    )
    return [
        KeyListing(
            row["name"], row["prefix"], tuple(row["scopes"]), row["created_at"], row["revoked_at"]
        )
        for row in rows
    ]


async def revoke_key(pool: asyncpg.Pool, prefix: str) -> int:
    """Shut out the keys with this prefix, for ever; how many there were.

    Who was let in before may get in for up to 10 s more.
    """
    rows = await pool.fetch(
        "update api_key set revoked_at = clock_timestamp()"
        " where prefix = $1 and revoked_at is null returning 1",
        prefix,
    )
    return len(rows)


class ApiKeys:
    """Finds callers by their keys. Those found are remembered, so a key costs no query each."""

    def __init__(
        self, pool: asyncpg.Pool, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._monotonic = monotonic
        self._remembered: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    async def find(self, key: str) -> Caller | None:
        """The caller this key belongs to; None for one that is unknown, revoked or no key."""
        if not _KEY.fullmatch(key):
            return None
        digest = _hash(key)
        now = self._monotonic()
        known = self._remembered.get(digest)
        if known is not None and known[0] > now:
            return known[1]
        row = await self._pool.fetchrow(
            "select name, scopes from api_key where sha256 = $1 and revoked_at is null", digest
        )
        if row is None:
            self._remembered.pop(digest, None)
            return None
        caller = Caller(row["name"], frozenset(row["scopes"]))
        self._remembered[digest] = (now + REMEMBERED_S, caller)
        self._remembered.move_to_end(digest)
        if len(self._remembered) > REMEMBERED_MOST:
            self._remembered.popitem(last=False)
        return caller


def _hash(key: str) -> bytes:
    # No salt and no slow hash: the key is random, there is nothing to guess.
    return hashlib.sha256(key.encode()).digest()


def _prefix(key: str) -> str:
    return key.split("_")[1] if key.startswith("kith_") else key[:PREFIX_LENGTH]
