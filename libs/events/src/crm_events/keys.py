"""Subject keys: made, wrapped under a key-encryption key, and carried by contacts.keys."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import ValidationError

from crm_events.blobs import KEY_BYTES, BlobError, decrypt, encrypt
from crm_events.contacts import SubjectKeyRecord
from crm_events.errors import BadKeyRecordError, UnwrapError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Kek:
    """A key-encryption key of the deployment. Two are live while it is rotated."""

    kek_id: str
    material: bytes = field(repr=False)  # 32 bytes

    def __post_init__(self) -> None:
        if len(self.material) != KEY_BYTES:
            raise ValueError(f"key-encryption key {self.kek_id} has not {KEY_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class Destroyed:
    """What stands in the place of a key that was destroyed."""

    at: datetime


def new_key() -> bytes:
    """Return a subject key: 32 random bytes."""
    return os.urandom(KEY_BYTES)


def wrap(key: bytes, *, key_id: str, kek: Kek) -> str:
    """Return `key` encrypted under `kek`, as "<nonce>.<ciphertext>", bound to both ids."""
    return encrypt(kek.material, key, _bound(key_id, kek))


def unwrap(wrapped: str, *, key_id: str, keks: Mapping[str, Kek]) -> bytes:
    """Return the subject key, by whichever of `keks` (by id) it was wrapped under.

    Raises:
        UnwrapError: none of them opens it, or it is another subject's.
    """
    for kek in keks.values():
        try:
            return decrypt(kek.material, wrapped, _bound(key_id, kek))
        except BlobError:
            continue
    raise UnwrapError(key_id)


def _bound(key_id: str, kek: Kek) -> bytes:
    return f"{kek.kek_id}\n{key_id}".encode()


def to_key_record(record: SubjectKeyRecord) -> tuple[bytes, bytes]:
    """Return key and value of the Kafka record: never a null value, for Kafka forgets those."""
    return record.key_id.encode(), record.model_dump_json(exclude_none=True).encode()


def read_key_record(key: bytes | None, value: bytes | None) -> SubjectKeyRecord:
    """Return what a Kafka record of contacts.keys says.

    Raises:
        BadKeyRecordError: it has no value, names no subject, or is no wrapped or destroyed key.
    """
    try:
        record = SubjectKeyRecord.model_validate_json(value or b"")
        if str(UUID(record.key_id)) == record.key_id == (key or b"").decode():
            return record
    except (ValidationError, ValueError):
        pass
    raise BadKeyRecordError("neither a wrapped key nor a destroyed one, under its subject's id")
