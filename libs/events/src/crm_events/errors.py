"""What can be wrong with an event, by name. No message carries a personal value."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID


class UnknownTypeError(Exception):
    """No class of the contract has this type: a later release may."""

    def __init__(self, type: str) -> None:  # noqa: A002  # the word of the wire
        super().__init__(f"the contract has no event of type {type!r}")
        self.type = type


class UnknownVersionError(Exception):
    """The type is known, this version of it is not: deploy the reader first."""

    def __init__(self, type: str, version: int) -> None:  # noqa: A002
        super().__init__(
            f"version {version} of {type} cannot be read here: deploy the reader first"
        )
        self.type, self.version = type, version


class UndecodableError(Exception):
    """Data that its class does not accept, or a sealed part that is not authentic."""

    def __init__(self, event_id: UUID, reason: str) -> None:
        super().__init__(f"event {event_id} cannot be read: {reason}")
        self.event_id, self.reason = event_id, reason


class MissingKeyError(Exception):
    """The subject's key is not here (yet)."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the key of subject {key_id} is not known")
        self.key_id = key_id


class DestroyedKeyError(Exception):
    """The subject was erased: nothing is sealed for them any more."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"the key of subject {key_id} was destroyed")
        self.key_id = key_id


class UnwrapError(Exception):
    """None of the key-encryption keys at hand opens the wrapped key."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"no key-encryption key here opens the key of subject {key_id}")
        self.key_id = key_id


class BadKeyRecordError(Exception):
    """A record of contacts.keys that says nothing readable about a key."""


class UnreadableRecordError(Exception):
    """A Kafka record without readable ce_id, ce_type or ce_sequence: it holds its partition."""


class BadEnvelopeError(Exception):
    """A Kafka record whose place in the order is readable, and whose envelope is not: quarantine.

    `partition_key` is None where the record's own key is what cannot be read.
    """

    def __init__(
        self,
        event_id: UUID,
        type: str,  # noqa: A002
        sequence: int,
        reason: str,
        *,
        partition_key: UUID | None = None,
    ) -> None:
        super().__init__(f"event {event_id} ({type}, number {sequence}): {reason}")
        self.event_id, self.type, self.sequence, self.reason = event_id, type, sequence, reason
        self.partition_key = partition_key


class BadInputError(ValueError):
    """Input that is refused. `pointer` (RFC 6901) names the place, `code` is stable."""

    def __init__(self, pointer: str, reason: str, code: str) -> None:
        super().__init__(f"{pointer or 'the document'}: {reason}")
        self.pointer, self.reason, self.code = pointer, reason, code
