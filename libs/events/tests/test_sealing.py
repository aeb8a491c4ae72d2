"""Personal data leaves an event sealed, and comes back only to who holds the key."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from crm_events.base import Event, Value
from crm_events.contacts import (
    Identifier,
    Namespace,
    PageViewed,
    PersonChanged,
    PersonLinked,
    PersonRegistered,
)
from crm_events.envelope import Recorded
from crm_events.errors import (
    BadInputError,
    DestroyedKeyError,
    MissingKeyError,
    UndecodableError,
    UnknownTypeError,
    UnknownVersionError,
)
from crm_events.keys import Destroyed, new_key
from crm_events.money import Amount
from crm_events.personal import ERASED, SEALED, Personal
from crm_events.placement import placement
from crm_events.sealing import personal_fields, read, seal, subjects, unseal
from crm_events.topics import CONTRACT, Contract, Topic
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
EVENT_ID = UUID("01998a3c-7d00-7000-8000-000000000001")
CUSTOMER = UUID("01998a3c-7d00-7000-8000-000000000002")
FRIEND = UUID("01998a3c-7d00-7000-8000-000000000003")
KEYS = {str(CUSTOMER): new_key(), str(FRIEND): new_key()}
SECRET = "ada.lovelace@secret.example"  # noqa: S105  # somebody's address


class Address(Value):
    street: str
    since: datetime
    rent: Amount


class Contacted(Event, type="test.contacted", version=1, subject="friend_id"):
    """Names its subject itself, and has personal fields of every shape."""

    friend_id: UUID
    note: Personal[str]  # required
    address: Personal[Address] = SEALED
    addresses: Personal[tuple[Address, ...]] = SEALED
    main: Identifier | None = None
    others: tuple[Identifier, ...] | None = None


class Emptied(Event, type="test.emptied", version=1):
    note: Personal[str | None] = SEALED


TESTED = Contract((Topic("test.things", "test", (Contacted, Emptied)),))


def registered(profile: dict[str, Any] | None = None) -> PersonRegistered:
    return PersonRegistered(
        customer_id=CUSTOMER,
        identifiers=(
            Identifier(namespace=Namespace.MAIL, value=SECRET, given="Ada"),
            Identifier(namespace=Namespace.USER, value="u-1"),
        ),
        profile=profile or {"name": "Ada", "phone": None},
    )


def sealed(event: Event, keys: Any = KEYS) -> str:
    return seal(event, event_id=EVENT_ID, subject=CUSTOMER, keys=keys)


def recorded(event: Event, data: str | None = None) -> Recorded:
    return Recorded(
        event_id=EVENT_ID,
        type=event.type,
        schema_version=event.version,
        stream_id=CUSTOMER,
        stream_version=1,
        partition_key=CUSTOMER,
        occurred_at=AT,
        recorded_at=AT,
        data=sealed(event) if data is None else data,
    )


def json_values():
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    )
    texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
        max_leaves=12,
    )


@given(
    profile=st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0")), json_values(), max_size=5
    ),
    values=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), max_size=4),
)
def test_what_was_sealed_reads_back_as_it_was(profile, values):
    event = PersonRegistered(
        customer_id=CUSTOMER,
        identifiers=tuple(Identifier(namespace=Namespace.USER, value=value) for value in values),
        profile=profile,
    )

    again = read(recorded(event), CONTRACT, KEYS)

    assert again == event


def test_the_text_holds_no_personal_value():
    data = sealed(registered())

    assert SECRET not in data
    assert '"Ada' not in data  # base64 may spell the name, but has no quote
    assert json.loads(data)["identifiers"] == [{"namespace": "mail"}, {"namespace": "user"}]
    assert subjects(json.loads(data)) == {str(CUSTOMER)}


def test_an_explicit_null_is_kept_whether_personal_or_not():
    event = PageViewed(
        customer_id=CUSTOMER, message_id="m", source="web", name=None, properties={"a": None}
    )

    data = json.loads(sealed(event))
    again = read(recorded(event), CONTRACT, KEYS)
    null = read(recorded(Emptied(note=None)), TESTED, KEYS)

    assert data["name"] is None
    assert again.properties == {"a": None}
    assert null.note is None


def test_a_reader_without_keys_sees_every_personal_field_sealed():
    closed = read(recorded(registered()), CONTRACT)

    assert closed.profile is SEALED
    assert [known.value for known in closed.identifiers] == [SEALED, SEALED]
    assert [known.namespace for known in closed.identifiers] == [Namespace.MAIL, Namespace.USER]


def test_with_a_destroyed_key_every_personal_field_reads_erased():
    erased = read(recorded(registered()), CONTRACT, {str(CUSTOMER): Destroyed(AT)})

    assert erased.profile is ERASED
    assert [known.value for known in erased.identifiers] == [ERASED, ERASED]


def test_every_shape_of_personal_field_reads_back():
    address = Address(street="Main", since=AT, rent=Decimal("1000.50"))
    event = Contacted(
        friend_id=FRIEND,
        note=SECRET,
        address=address,
        addresses=(address, address),
        main=Identifier(namespace=Namespace.MAIL, value=SECRET),
        others=(Identifier(namespace=Namespace.USER, value="x"),),
    )
    record = recorded(event)

    assert read(record, TESTED, KEYS) == event
    assert json.loads(record.data)["sealed"].keys() == {str(FRIEND)}
    assert placement(Contacted).pointers() == (
        "/note",
        "/address",
        "/addresses",
        "/main/value",
        "/main/given",
        "/others/*/value",
        "/others/*/given",
    )


def test_a_class_names_the_field_that_holds_whose_data_it_is():
    event = Contacted(friend_id=FRIEND, note=SECRET)

    with pytest.raises(MissingKeyError) as missing:
        sealed(event, {str(CUSTOMER): KEYS[str(CUSTOMER)]})

    assert missing.value.key_id == str(FRIEND)


def test_a_required_personal_field_reads_sealed_where_nobody_opened_it():
    record = recorded(Contacted(friend_id=FRIEND, note=SECRET))

    assert read(record, TESTED).note is SEALED
    assert read(record, TESTED, {str(FRIEND): Destroyed(AT)}).note is ERASED


@pytest.mark.parametrize("hidden", [SEALED, ERASED])
def test_a_placeholder_is_never_sealed(hidden):
    data = sealed(Contacted(friend_id=FRIEND, note=hidden, address=hidden), {})

    assert json.loads(data) == {"friend_id": str(FRIEND), "main": None, "others": None}


def test_nothing_is_sealed_without_the_key_or_under_a_destroyed_one():
    with pytest.raises(MissingKeyError):
        sealed(registered(), {})
    with pytest.raises(DestroyedKeyError):
        sealed(registered(), {str(CUSTOMER): Destroyed(AT)})


def test_an_event_without_personal_data_needs_no_key():
    event = PersonLinked(customer_id=CUSTOMER, into=FRIEND, reason="stated")

    assert read(recorded(event, sealed(event, {})), CONTRACT, {}) == event
    assert not personal_fields(PersonLinked)
    assert personal_fields(PersonRegistered)


def test_values_of_two_subjects_are_opened_with_two_keys():
    mine = json.loads(sealed(registered()))
    other = seal(Emptied(note="from a friend"), event_id=EVENT_ID, subject=FRIEND, keys=KEYS)
    both = {**mine, "sealed": mine["sealed"] | json.loads(other)["sealed"]}
    before = json.dumps(both)

    opened = unseal(both, event_id=EVENT_ID, keys=KEYS)
    half = unseal(both, event_id=EVENT_ID, keys={**KEYS, str(FRIEND): Destroyed(AT)})

    assert opened["note"] == "from a friend"
    assert opened["identifiers"][0]["value"] == half["identifiers"][0]["value"] == SECRET
    assert "sealed" not in opened
    assert "note" not in half
    assert subjects(both) == {str(CUSTOMER), str(FRIEND)}
    assert json.dumps(both) == before
    with pytest.raises(MissingKeyError):
        unseal(both, event_id=EVENT_ID, keys={str(CUSTOMER): KEYS[str(CUSTOMER)]})


def test_a_wrong_key_opens_nothing():
    with pytest.raises(UndecodableError):
        read(recorded(registered()), CONTRACT, {str(CUSTOMER): new_key()})


def test_a_blob_does_not_open_in_another_event():
    record = replace(recorded(registered()), event_id=FRIEND)

    with pytest.raises(UndecodableError, match="not authentic"):
        read(record, CONTRACT, KEYS)


def test_a_blob_does_not_open_for_another_subject():
    data = json.loads(sealed(registered()))
    data["sealed"] = {str(FRIEND): data["sealed"][str(CUSTOMER)]}

    with pytest.raises(UndecodableError):
        unseal(data, event_id=EVENT_ID, keys={str(FRIEND): KEYS[str(CUSTOMER)]})


@given(place=st.integers(0, 10_000), bit=st.integers(0, 5))
def test_a_changed_blob_is_not_opened(place, bit):
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 17 bytes of plaintext and a tag end on a base64 boundary: no bit of the text is spare.
    data = json.loads(sealed(Emptied(note="12345")))
    blob = data["sealed"][str(CUSTOMER)]
    place %= len(blob)
    changed = "." if blob[place] == "." else alphabet[alphabet.index(blob[place]) ^ (1 << bit)]
    data["sealed"][str(CUSTOMER)] = blob[:place] + changed + blob[place + 1 :]

    if changed == ".":
        assert unseal(data, event_id=EVENT_ID, keys=KEYS) == {"note": "12345"}
    else:
        with pytest.raises(UndecodableError):
            unseal(data, event_id=EVENT_ID, keys=KEYS)


@pytest.mark.parametrize(
    "blob", [None, 7, "", ".", "a.b", "AAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAA.", "AAAAAAAAAAAAAAAA.~"]
)
def test_what_is_no_blob_is_undecodable(blob):
    with pytest.raises(UndecodableError):
        unseal({"sealed": {str(CUSTOMER): blob}}, event_id=EVENT_ID, keys=KEYS)


@pytest.mark.parametrize("text", ["", "[]", "7", "{", '{"sealed":7}', '{"customer_id":"no"}', "{}"])
@pytest.mark.parametrize("keys", [None, KEYS])
def test_data_that_is_no_such_event_is_undecodable(text, keys):
    with pytest.raises(UndecodableError):
        read(recorded(registered(), text), CONTRACT, keys)


@pytest.mark.parametrize(
    ("pointer", "fits"),
    [
        ("/a", True),
        ("/b/0/c", True),
        ("/b/1/c", False),
        ("/b/-1/c", False),
        ("/b/x/c", False),
        ("/z/c", False),
        ("/b/0", False),
        ("a", False),
        ("", False),
        ("/a~1b", True),
    ],
)
def test_a_sealed_value_goes_only_where_there_is_a_place(pointer, fits):
    from crm_events.blobs import encrypt  # noqa: PLC0415  # only here is a blob made by hand

    plain = json.dumps({pointer: 1}).encode()
    blob = encrypt(KEYS[str(CUSTOMER)], plain, EVENT_ID.bytes + str(CUSTOMER).encode())
    data = {"b": [{"d": 0}], "sealed": {str(CUSTOMER): blob}}

    if fits:
        opened = unseal(data, event_id=EVENT_ID, keys=KEYS)
        assert opened != {"b": [{"d": 0}]}
        assert opened.get("a/b", 1) == 1
    else:
        with pytest.raises(UndecodableError):
            unseal(data, event_id=EVENT_ID, keys=KEYS)


def test_neither_repr_nor_an_error_shows_a_personal_value():
    opened = read(recorded(registered({"name": SECRET})), CONTRACT, KEYS)
    wrong = json.dumps({"customer_id": SECRET, "identifiers": [{"namespace": SECRET}]})
    shown = [repr(opened), str(opened), f"{opened.identifiers[0]!r}"]

    for keys in (None, {}):
        with pytest.raises(UndecodableError) as undecodable:
            read(recorded(registered(), wrong), CONTRACT, keys)
        shown += [str(undecodable.value), repr(undecodable.value.__context__)]
    with pytest.raises(ValueError, match="3 validation errors") as refused:
        PersonRegistered(customer_id=CUSTOMER, identifiers=(), profile=SECRET)
    shown.append(str(refused.value))

    assert not [text for text in shown if SECRET in text]
    assert "profile=***" in shown[0]


@pytest.mark.parametrize("value", ["\0", float("nan"), float("inf"), "\ud800", object(), b"\xff"])
def test_what_the_gate_would_refuse_is_not_written_either(value):
    with pytest.raises(BadInputError):
        sealed(PersonChanged(customer_id=CUSTOMER, fields=(), profile={"a": [value]}))


def test_a_text_that_only_looks_like_what_is_refused_is_written():
    profile = {"a": "NaN", "b": "\\u0000", "Infinity": 1}

    event = PersonChanged(customer_id=CUSTOMER, fields=(), profile=profile)

    assert read(recorded(event), CONTRACT, KEYS) == event


def test_an_unknown_type_and_an_unknown_version_are_told_apart():
    record = recorded(registered())

    with pytest.raises(UnknownTypeError):
        read(replace(record, type="contacts.person.cloned"), CONTRACT)
    for version in (0, 2):
        with pytest.raises(UnknownVersionError):
            read(replace(record, schema_version=version), CONTRACT)


def test_unknown_fields_are_ignored():
    data = {**json.loads(sealed(registered())), "later": {"a": 1}}

    assert read(recorded(registered(), json.dumps(data)), CONTRACT, KEYS) == registered()


def test_a_personal_field_where_it_would_not_be_sealed_is_refused():
    def event(**annotations: Any) -> type[Event]:
        return type("Odd", (Event,), {"__annotations__": annotations}, type="test.odd")

    for annotation in (
        tuple[Personal[str], ...],
        dict[str, Personal[str]],
        dict[str, Identifier],
        tuple[Identifier, Identifier],
        Identifier | Address,
        list[tuple[Identifier, ...]],
    ):
        with pytest.raises(TypeError):
            Contract((Topic("t", "test", (event(field=annotation),)),))
    with pytest.raises(TypeError):
        placement(event(note=Personal[str], sealed=str))


def test_a_personal_field_with_another_default_is_refused():
    class Odd(Event, type="test.odd", version=1):
        note: Personal[str | None] = None

    with pytest.raises(TypeError):
        placement(Odd)
