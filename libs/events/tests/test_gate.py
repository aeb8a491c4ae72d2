"""What the gate refuses, by place and code, and that it lets nothing through that a database
would refuse or change.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import Any

import asyncpg
import pytest
from crm_events.errors import BadInputError
from crm_events.gate import (
    BATCH_LIMITS,
    LIMITS,
    Limits,
    check_id,
    check_value,
    parse_json,
    parse_unchecked,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import to_json

REFUSED = {
    "NUL in a value": (rb'{"a":{"b":["x","\u0000"]}}', "/a/b/1", "nul-character"),
    "NUL in a key": (rb'{"a":{"b\u0000":1}}', "/a", "nul-character"),
    "NUL as it is": (b'{"a":"\0"}', "", "invalid-json"),
    "half a surrogate pair": (rb'{"a":"\ud800"}', "/a", "lone-surrogate"),
    "half a pair in a key": (rb'{"a":{"\udfff":1}}', "/a", "lone-surrogate"),
    "a pair in the wrong order": (rb'["\udc00\ud800"]', "/0", "lone-surrogate"),
    "not a number": (b'{"a":NaN}', "/a", "not-finite"),
    "infinity": (b'{"a":[Infinity]}', "/a/0", "not-finite"),
    "minus infinity": (b'{"a":-Infinity}', "/a", "not-finite"),
    "a number too large": (b'{"a":1e400}', "/a", "not-finite"),
    "a number too small": (b'{"a":-1e400}', "/a", "not-finite"),
    "2^63": (b'{"a":9223372036854775808}', "/a", "integer-range"),
    "less than -2^63": (b'{"a":-9223372036854775809}', "/a", "integer-range"),
    "an endless integer": (b'{"a":' + b"1" * 5000 + b"}", "/a", "integer-range"),
    "a key twice": (b'{"a":{"b":1,"b":2}}', "/a/b", "duplicate-key"),
    "a key twice, written in two ways": (rb'{"a":1,"\u0061":2}', "/a", "duplicate-key"),
    "a key twice, and colons": (b'{"a" : ":", "a" :": :"}', "/a", "duplicate-key"),
    "a key twice in a list": (b'[{"x/~y":1 ,"x/~y": 2}]', "/0/x~1~0y", "duplicate-key"),
    "33 lists": (b"[" * 33 + b"]" * 33, "/0" * 32, "too-deep"),
    "300 lists": (b"[" * 300 + b"]" * 300, "/0" * 32, "too-deep"),
    "100,000 lists": (b"[" * 100_000 + b"]" * 100_000, "", "too-deep"),
    "1,001 keys": (json.dumps({str(n): 0 for n in range(1001)}).encode(), "", "too-many-keys"),
    "1,001 keys below": (
        json.dumps({"a": [{"k": {"l": n}} for n in range(501)]}).encode(),
        "/a/499/k",
        "too-many-keys",
    ),
    "256 kB and one byte": (b'"' + b"x" * (256 * 1024 - 1) + b'"', "", "too-large"),
    "no UTF-8": (b'{"a":"\xff"}', "", "invalid-utf8"),
    "a surrogate in UTF-8": (b'"\xed\xa0\x80"', "", "invalid-utf8"),
    "Latin-1": ('{"a":"é"}'.encode("latin-1"), "", "invalid-utf8"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "", "invalid-utf8"),
    "UTF-16 without a mark": ('{"a":1}'.encode("utf-16-le"), "", "invalid-json"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "", "invalid-json"),
    "nothing": (b"", "", "invalid-json"),
    "half": (b'{"a":', "", "invalid-json"),
    "two": (b"{} {}", "", "invalid-json"),
    "a comma too many": (b'{"a":1,}', "", "invalid-json"),
    "a bare word": (b"hello", "", "invalid-json"),
    "a leading zero": (b"01", "", "invalid-json"),
    "hexadecimal": (b"0x10", "", "invalid-json"),
    "a control character": (b'"\x01"', "", "invalid-json"),
    "a bad escape": (rb'"\x41"', "", "invalid-json"),
    "a form": (b"a=1&b=2", "", "invalid-json"),
}


@pytest.mark.parametrize(("raw", "pointer", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_is_refused_with_its_place(raw, pointer, code):
    with pytest.raises(BadInputError) as refused:
        parse_json(raw)

    assert (refused.value.pointer, refused.value.code) == (pointer, code)
    assert refused.value.reason


TAKEN = {
    "limits of integers": b"[9223372036854775807,-9223372036854775808]",
    "a large number": b"[1.7976931348623157e308,-1e300]",
    "an escaped backslash before u0000": rb'{"a":"\\u0000"}',
    "a surrogate pair": rb'["\ud83d\ude00"]',
    "any other plane": '["😀", "\u202e", "\ufeff"]'.encode(),
    "32 lists": b"[" * 32 + b"]" * 32,
    "1,000 keys": json.dumps({str(n): 0 for n in range(1000)}).encode(),
    "256 kB": b'"' + b"x" * (256 * 1024 - 2) + b'"',
    "the same key in two places": b'{"a":{"k":1},"b":{"k":2},"k":[{"k":3}]}',
    "colons in texts": rb'{"a":"\":","b":": :","c" :" : \n:","d:":" :"}',
    "empty keys": b'{"":{"":1}}',
    "what JavaScript objects have": b'{"__proto__":1,"constructor":{}}',
}


@pytest.mark.parametrize("raw", TAKEN.values(), ids=TAKEN)
def test_what_can_be_kept_is_taken_exactly(raw):
    assert parse_json(raw) == json.loads(raw)
    assert parse_json(raw.decode()) == json.loads(raw)
    check_value(json.loads(raw))


def test_a_text_with_half_a_surrogate_pair_is_refused():
    with pytest.raises(BadInputError) as refused:
        parse_json('{"a":"\ud800"}')

    assert refused.value.code == "lone-surrogate"


def test_a_refusal_repeats_no_value_and_its_pointer_stays_short():
    deep = json.dumps({"k" * 200: {"l" * 200: {"secret": "s3cret\0"}}})

    with pytest.raises(BadInputError) as refused:
        parse_json(deep)

    assert "s3cret" not in str(refused.value)
    assert refused.value.pointer == f"/{'k' * 200}/secret"


def test_each_event_of_a_batch_has_limits_of_its_own():
    event = {"properties": {str(n): n for n in range(990)}}
    batch = {"batch": [event, event, event], "sentAt": "now"}

    assert parse_json(json.dumps(batch), limits=BATCH_LIMITS, each="batch") == batch
    with pytest.raises(BadInputError):
        parse_json(json.dumps(batch), limits=BATCH_LIMITS)


@pytest.mark.parametrize(
    ("batch", "pointer", "code"),
    [
        ([0, {"a": {str(n): n for n in range(1000)}}], "/batch/1/a", "too-many-keys"),
        ([0, {"a": ["\0"]}], "/batch/1/a/0", "nul-character"),
        ([{"a": 2**63}], "/batch/0/a", "integer-range"),
        ([json.loads("[" * 33 + "]" * 33)], "/batch/0" + "/0" * 32, "too-deep"),
        ([0] * 1001, "/batch", "too-many-events"),
    ],
)
def test_a_bad_event_of_a_batch_is_named(batch, pointer, code):
    raw = json.dumps({"batch": batch})

    with pytest.raises(BadInputError) as refused:
        parse_json(raw, limits=BATCH_LIMITS, each="batch")

    assert (refused.value.pointer, refused.value.code) == (pointer, code)


def test_what_is_around_a_batch_is_examined_too():
    with pytest.raises(BadInputError) as refused:
        parse_json(b'{"batch":[],"sentAt":1e999}', limits=BATCH_LIMITS, each="batch")

    assert refused.value.pointer == "/sentAt"


def test_one_bad_event_of_a_batch_can_be_told_from_the_others():
    batch = parse_unchecked(rb'{"batch":[{"a":"\u0000"},{"a":1},{"a":1,"a":2},{"a":NaN}]}')

    codes: list[str] = []
    for index, event in enumerate(batch["batch"]):
        try:
            check_value(event, pointer=f"/batch/{index}")
            codes.append("taken")
        except BadInputError as refused:
            codes.append(f"{refused.pointer} {refused.code}")

    assert codes == [
        "/batch/0/a nul-character", "taken", "/batch/2/a duplicate-key", "/batch/3/a not-finite",
    ]  # fmt: skip


@pytest.mark.parametrize("value", [object(), b"x", {1: 2}, (1,), {"a": {1}}])
def test_a_value_that_is_no_json_is_refused(value):
    with pytest.raises(BadInputError) as refused:
        check_value(value)

    assert refused.value.code == "not-json"


def test_an_id_has_1_to_255_bytes():
    check_id("x" * 255, pointer="/messageId")
    for bad, code in (("", "empty-id"), ("x" * 256, "id-too-long"), ("é" * 128, "id-too-long")):
        with pytest.raises(BadInputError) as refused:
            check_id(bad, pointer="/messageId")
        assert (refused.value.pointer, refused.value.code) == ("/messageId", code)


@pytest.mark.parametrize("depth", [1, 31, 32, 33])
def test_depth_is_counted_alike_fast_and_slow(depth):
    value: Any = json.loads("[" * depth + "]" * depth)

    for check in (check_value, lambda v, limits: parse_json(json.dumps(v), limits=limits)):
        if depth <= LIMITS.max_depth:
            check(value, limits=LIMITS)
        else:
            with pytest.raises(BadInputError):
                check(value, limits=LIMITS)
    with pytest.raises(BadInputError):
        parse_json("[[]]", limits=Limits(max_depth=1))


def odd_json() -> st.SearchStrategy[str]:
    """JSON text as an enemy writes it: odd numbers and escapes, doubled keys, deep nesting."""
    pieces = st.sampled_from(
        ["\\u0000", "\\ud800", "\\udc00", "\\ud83d\\ude00", "\\n", "a", "é", '\\"', ":", "\\\\",
         "😀", "\\\\u0000", " :"]
    )  # fmt: skip
    texts = st.lists(pieces, max_size=4).map(lambda parts: '"' + "".join(parts) + '"')
    numbers = st.sampled_from(
        ["0", "-0", "1e400", "-1e400", "NaN", "Infinity", "9223372036854775807", "1e-400", "1E5",
         "9223372036854775808", "-9223372036854775808", "123456789012345678901234567890", "0.1",
         "1.7976931348623157e308", "5e-324", "2.5e-320"]
    )  # fmt: skip
    scalars = texts | numbers | st.sampled_from(["null", "true", "false"])

    def grow(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        members = st.tuples(texts, st.sampled_from([":", " :", ": "]), inner).map("".join)
        return st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]") | st.lists(
            members, max_size=3
        ).map(lambda items: f"{{{','.join(items)}}}")

    return st.recursive(scalars, grow, max_leaves=8)


def every_text(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [*value, *(text for item in value.values() for text in every_text(item))]
        case list():
            return [text for item in value for text in every_text(item)]
        case _:
            return []


@given(odd_json())
@settings(max_examples=500)
def test_the_gate_takes_or_refuses_and_both_of_its_paths_agree(raw):
    try:
        value = parse_json(raw)
    except BadInputError:
        value = None
        with pytest.raises(BadInputError):
            check_value(parse_unchecked(raw.encode()))
    else:
        check_value(parse_unchecked(raw.encode()))
        assert value == json.loads(raw)
        assert not [n for n in [value] if isinstance(n, float) and not math.isfinite(n)]


@pytest.fixture
def ask(database):
    """Ask PostgreSQL for one row."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database))
        yield lambda query, *args: runner.run(connection.fetchrow(query, *args))
        runner.run(connection.close())


def from_database(text: str) -> Any:
    # jsonb writes 1e300 in all its digits.
    return json.loads(text, parse_int=lambda digits: (float if len(digits) > 20 else int)(digits))


def test_postgresql_takes_all_that_the_gate_lets_through(ask):
    taken = 0

    @given(odd_json())
    @settings(max_examples=400)
    def keeps(raw: str) -> None:
        nonlocal taken
        try:
            value = parse_json(raw)
        except BadInputError:
            return
        taken += 1
        kept = ask(
            "select $1::json::text as json, $1::json::jsonb::text as rewritten,"
            " $2::jsonb::text as jsonb, $3::text[] as texts",
            raw,
            to_json(value).decode(),
            every_text(value),
        )
        assert from_database(kept["json"]) == value
        assert from_database(kept["rewritten"]) == value
        assert from_database(kept["jsonb"]) == value
        assert kept["texts"] == every_text(value)

    keeps()
    assert taken > 50


@pytest.mark.parametrize("raw", [r'"\u0000"', r'"\ud800"', "NaN", "[1e400000]"])
def test_postgresql_refuses_what_the_gate_is_there_for(ask, raw):
    with pytest.raises(asyncpg.PostgresError):
        ask("select $1::json::jsonb", raw)
    with pytest.raises(BadInputError):
        parse_json(raw)
