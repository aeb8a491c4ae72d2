"""Events to data and back: personal fields leave it as one ciphertext per subject.

Data is JSON; its member `sealed` maps a key id (the subject's id) to a blob, whose plaintext is
`{"/json/pointer": value}`, authenticated with the event id and the key id.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from crm_events.blobs import BlobError, decrypt, encrypt
from crm_events.errors import (
    BadInputError,
    DestroyedKeyError,
    MissingKeyError,
    UndecodableError,
    UnknownTypeError,
)
from crm_events.gate import check_value
from crm_events.keys import Destroyed
from crm_events.personal import ERASED, SEALED
from crm_events.placement import SEALED_FIELD, placement
from crm_events.upcasters import upcast

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from crm_events.base import Event, Value
    from crm_events.envelope import Recorded
    from crm_events.placement import Placement
    from crm_events.topics import Contract


def personal_fields(cls: type[Event]) -> bool:
    """Say whether events of this class carry personal data, in themselves or in their parts."""
    return bool(placement(cls))


def seal(
    event: Event, *, event_id: UUID, subject: UUID, keys: Mapping[str, bytes | Destroyed]
) -> str:
    """Return the JSON text of `event`, its personal values sealed under its subject's key.

    `subject` is the partition key of the envelope; a class whose `subject` names a field goes by
    that. A field that reads SEALED or ERASED is absent. No key is needed where nothing is left.

    Raises:
        MissingKeyError: the subject's key is not in `keys`.
        DestroyedKeyError: the subject was erased.
        BadInputError: a value has no JSON that could be kept.
    """
    cls = type(event)
    places = placement(cls)
    if not places:
        return _written(event, None)
    data = _written(event, places)
    personal: dict[str, Any] = {}
    places.collect(event, personal)
    if not personal:
        return data
    key_id = str(subject if cls.subject is None else getattr(event, cls.subject))
    key = keys.get(key_id)
    if key is None:
        raise MissingKeyError(key_id)
    if isinstance(key, Destroyed):
        raise DestroyedKeyError(key_id)
    blob = encrypt(key, _personal_json(personal), _associated(event_id, key_id))
    comma = "" if data == "{}" else ","
    return f'{data[:-1]}{comma}"{SEALED_FIELD}":{{"{key_id}":"{blob}"}}}}'


def unseal(
    data: dict[str, Any], *, event_id: UUID, keys: Mapping[str, bytes | Destroyed]
) -> dict[str, Any]:
    """Return a copy of `data` with the sealed values back in their places, and no `sealed`.

    Values under a destroyed key stay absent.

    Raises:
        MissingKeyError: one of its keys is not in `keys`.
        UndecodableError: a blob is not authentic for this event, or fits nowhere in `data`.
    """
    opened = copy.deepcopy(data)
    _open(opened, event_id, keys)
    return opened


def subjects(data: Mapping[str, Any]) -> frozenset[str]:
    """Name the keys under which parts of `data` are sealed."""
    sealed = data.get(SEALED_FIELD)
    return frozenset(cast("dict[str, Any]", sealed)) if isinstance(sealed, dict) else frozenset()


def read(
    recorded: Recorded,
    contract: Contract,
    keys: Mapping[str, bytes | Destroyed] | None = None,
) -> Event:
    """Return the event that was recorded, as the present version of its class.

    With `keys` it is opened; without, personal fields read SEALED. Under a destroyed key they
    read ERASED.

    Raises:
        UnknownTypeError: the contract has no such type.
        UnknownVersionError: it is newer than the class here, or too old for the upcasters.
        MissingKeyError: a key of its subject is not in `keys`.
        UndecodableError: what was written is no such event.
    """
    cls = contract.classes.get(recorded.type)
    if cls is None:
        raise UnknownTypeError(recorded.type)
    places = placement(cls)
    current = recorded.schema_version == cls.version
    if current and places.defaulted and (keys is None or not places):
        try:
            return cls.model_validate_json(recorded.data)
        except ValidationError as error:
            reason = _reason(error, cls)
        raise UndecodableError(recorded.event_id, reason)
    try:
        data = from_json(recorded.data)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise UndecodableError(recorded.event_id, "the data is no JSON object")
    members = cast("dict[str, Any]", data)
    hidden = SEALED
    if keys is not None and SEALED_FIELD in members:
        hidden = ERASED if _open(members, recorded.event_id, keys) else SEALED
    if not current:
        members = upcast(
            members,
            type=recorded.type,
            version=recorded.schema_version,
            to_version=cls.version,
            upcasters=contract.upcasters,
        )
    places.complete(members, hidden)
    try:
        return cls.model_validate(members)
    except ValidationError as error:
        reason = _reason(error, cls)
    raise UndecodableError(recorded.event_id, reason)


def _written(event: Event, places: Placement | None) -> str:
    """Return what is not personal as JSON text."""
    try:
        raw = event.__pydantic_serializer__.to_json(
            event, exclude=None if places is None else places.exclude, warnings="error"
        )
    except PydanticSerializationError:
        raw = None
    return _kept(raw).decode()


def _personal_json(personal: dict[str, Any]) -> bytes:
    try:
        raw = to_json(personal)
    except (PydanticSerializationError, ValueError):
        raw = None
    return _kept(raw)


def _kept(raw: bytes | None) -> bytes:
    """Refuse what the gate would have refused; it may be written by code of ours, too."""
    if raw is None:
        raise BadInputError("", "a value has no JSON", "not-json")
    if b"\\u0000" in raw or b"NaN" in raw or b"Infinity" in raw:
        check_value(from_json(raw))
    return raw


def _associated(event_id: UUID, key_id: str) -> bytes:
    return event_id.bytes + key_id.encode()


def _open(data: dict[str, Any], event_id: UUID, keys: Mapping[str, bytes | Destroyed]) -> bool:
    """Put the sealed values into `data`; say whether a key was destroyed."""
    erased = False
    sealed = data.pop(SEALED_FIELD, {})
    if not isinstance(sealed, dict):
        raise UndecodableError(event_id, "what is sealed is no JSON object")
    for key_id, blob in cast("dict[str, Any]", sealed).items():
        key = keys.get(key_id)
        if key is None:
            raise MissingKeyError(key_id)
        if isinstance(key, Destroyed):
            erased = True
            continue
        for pointer, value in _opened(blob, event_id, key_id, key).items():
            if not _put(data, pointer, value):
                raise UndecodableError(event_id, "a sealed value fits nowhere in the data")
    return erased


def _opened(blob: Any, event_id: UUID, key_id: str, key: bytes) -> dict[str, Any]:  # noqa: ANN401  # JSON
    try:
        if isinstance(blob, str):
            values = from_json(decrypt(key, blob, _associated(event_id, key_id)))
            if isinstance(values, dict):
                return cast("dict[str, Any]", values)
        reason = "is no JSON object"
    except BlobError as error:
        reason = f"is {error}"
    except ValueError:
        reason = "is no JSON"
    raise UndecodableError(event_id, f"what is sealed for {key_id} {reason}")


def _put(data: dict[str, Any], pointer: str, value: Any) -> bool:  # noqa: ANN401  # JSON
    """Put `value` at the place `pointer` (RFC 6901) names; say whether there is such a place."""
    above, *tokens = pointer.split("/")
    if above or not tokens:
        return False
    if "~" in pointer:
        tokens = [token.replace("~1", "/").replace("~0", "~") for token in tokens]
    place: Any = data
    for token in tokens[:-1]:
        place = _member(place, token)
    if not isinstance(place, dict):
        return False
    place[tokens[-1]] = value
    return True


def _member(place: Any, token: str) -> Any:  # noqa: ANN401  # JSON
    if isinstance(place, dict):
        return cast("dict[str, Any]", place).get(token)
    if isinstance(place, list) and token.isdecimal() and int(token) < len(cast("list[Any]", place)):
        return cast("list[Any]", place)[int(token)]
    return None


def _reason(error: ValidationError, cls: type[Value]) -> str:
    """Say which fields are wrong and how, without a value or a key that came with them."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    found: list[str] = []
    for problem in problems:
        field = problem["loc"][0] if problem["loc"] else None
        found.append(f"{field if field in cls.model_fields else cls.__name__} {problem['type']}")
    return ", ".join(dict.fromkeys(found))
