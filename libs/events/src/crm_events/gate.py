r"""The gate for what comes from outside: JSON that every reader and PostgreSQL take as it is.

JSON parsers let through what a database refuses or silently changes: `\u0000`, lone surrogates,
`1e400`, integers past 64 bits, the same key twice. It is refused here, once for all, with the
place named and no value repeated.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import Any, Final, NoReturn, cast

from pydantic_core import from_json

from crm_events.errors import BadInputError

INTEGER_MAX: Final = 2**63 - 1
INTEGER_MIN: Final = -(2**63)
_POINTER_CHARACTERS: Final = 255  # a longer one is cut back to the nearest place above
_INTEGER_CHARACTERS: Final = 20  # of the longest that may be in range


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken. `max_keys` and `max_depth` are for one event."""

    max_bytes: int = 256 * 1024
    max_depth: int = 32
    max_keys: int = 1_000
    max_events: int = 1_000
    max_id_bytes: int = 255


LIMITS: Final = Limits()
BATCH_LIMITS: Final = Limits(max_bytes=4 * 1024 * 1024)
"""For a document that holds a batch: see `each` of `parse_json`."""


def parse_json(raw: bytes | str, *, limits: Limits = LIMITS, each: str | None = None) -> Any:  # noqa: ANN401  # JSON enters
    """Return the JSON value that `raw` is.

    `each` names a member of the document whose items are events: keys and depth are then counted
    for each of them alone, and there may be `max_events`.

    Raises:
        BadInputError: it is not JSON, or not such that it can be kept exactly.
    """
    if isinstance(raw, str):
        try:
            raw = raw.encode()
        except UnicodeEncodeError:
            return _refuse("", "holds half a surrogate pair", "lone-surrogate")
    if len(raw) > limits.max_bytes:
        _refuse("", f"has more than {limits.max_bytes} bytes", "too-large")
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        problem = str(error)
    else:
        # A parsed string can hold NUL only where it was escaped.
        keys = -1 if b"\\u0000" in raw else _count(value, limits, each)
        if keys < 0 or (keys != _keys_at_most(raw) and _has_doubled(raw)):
            _examine(_parse_slowly(raw, ""), limits, each)
        return value
    _examine(_parse_slowly(raw, problem), limits, each)
    return _refuse("", f"is not JSON{_position(problem)}", "invalid-json")


def parse_unchecked(raw: bytes) -> Any:  # noqa: ANN401  # JSON enters
    """Return the JSON value with all that is refused still in it, for `check_value` to name.

    For a batch of which one event is refused and the others are taken; the caller has measured
    `raw`.

    Raises:
        BadInputError: it is not JSON.
    """
    return _parse_slowly(raw, "")


def check_value(value: Any, *, limits: Limits = LIMITS, pointer: str = "") -> None:  # noqa: ANN401  # JSON
    """Refuse a JSON value, parsed by whomever, that could not be kept exactly.

    Raises:
        BadInputError: with a pointer that begins with `pointer`.
    """
    _Walk(limits).visit(value, pointer, 1)


def check_id(value: str, *, pointer: str, limits: Limits = LIMITS) -> None:
    """Refuse an id that is empty or too long. It may be anything else.

    Raises:
        BadInputError: with `pointer` as it is.
    """
    if not value:
        _refuse(pointer, "is empty", "empty-id")
    if len(value.encode(errors="surrogatepass")) > limits.max_id_bytes:
        _refuse(pointer, f"has more than {limits.max_id_bytes} bytes", "id-too-long")


def _refuse(pointer: str, reason: str, code: str) -> NoReturn:
    raise BadInputError(pointer, reason, code)


def _keys_at_most(raw: bytes) -> int:
    """Count what could be the colon after a key: at least as many as there are keys.

    If no more keys than that were parsed, none was written twice. A colon in a text may count as
    well; then the document is parsed again, slowly.
    """
    return sum(map(raw.count, (b'":', b" :", b"\n:", b"\t:", b"\r:")))


def _count(document: Any, limits: Limits, each: str | None) -> int:  # noqa: ANN401  # JSON
    """Return how many keys there are, -1 if anything is to be refused. Strings are not seen."""
    events = _events(document, each)
    if events is None:
        return _count_one(document, limits)
    if len(events) > limits.max_events:
        return -1
    keys = _count_one({**document, each: None}, limits)
    for event in events:
        more = _count_one(event, limits)
        if keys < 0 or more < 0:
            return -1
        keys += more
    return keys


def _count_one(value: Any, limits: Limits) -> int:  # noqa: ANN401  # JSON
    keys = depth = 0
    level: list[dict[str, Any] | list[Any]] = [[value]]
    while level:
        below: list[dict[str, Any] | list[Any]] = []
        for container in level:
            if isinstance(container, dict):
                keys += len(container)
            for item in container.values() if isinstance(container, dict) else container:
                kind: object = type(item)  # pyright: ignore[reportUnknownVariableType]  # JSON
                if kind is str:
                    continue
                if kind is dict or kind is list:
                    below.append(item)
                elif (kind is int and not INTEGER_MIN <= item <= INTEGER_MAX) or (
                    kind is float and not -inf < item < inf
                ):
                    return -1
        depth += 1
        level = below
    return keys if keys <= limits.max_keys and depth - 1 <= limits.max_depth else -1


class _DoubledError(Exception):
    pass


def _has_doubled(raw: bytes) -> bool:
    try:
        json.loads(raw, object_pairs_hook=_all_different)
    except _DoubledError:
        return True
    return False


def _all_different(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _DoubledError


class _Doubled(dict[str, Any]):
    """An object in which a key was written twice."""

    __slots__ = ("key",)

    key: str


def _as_written(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    doubled, seen = _Doubled(members), set[str]()
    doubled.key = next(key for key, _ in pairs if key in seen or seen.add(key))
    return doubled


def _integer(digits: str) -> int:
    return int(digits) if len(digits) <= _INTEGER_CHARACTERS else INTEGER_MAX + 1


def _parse_slowly(raw: bytes, problem: str) -> Any:  # noqa: ANN401  # JSON
    """Parse with all that is refused still in place, so that it can be named."""
    try:
        return json.loads(
            raw.decode(),
            object_pairs_hook=_as_written,
            parse_int=_integer,
            parse_constant=lambda _: nan,
        )
    except UnicodeDecodeError as error:
        _refuse("", f"is not UTF-8, at byte {error.start}", "invalid-utf8")
    except RecursionError:
        _refuse("", "is nested too deep", "too-deep")
    except ValueError:
        _refuse("", f"is not JSON{_position(problem)}", "invalid-json")


def _position(problem: str) -> str:
    found = re.search(r"line \d+ column \d+", problem)
    return f", at {found[0]}" if found else ""


def _examine(document: Any, limits: Limits, each: str | None) -> None:  # noqa: ANN401  # JSON
    """Raise for the first thing to be refused, if there is one."""
    events = _events(document, each)
    if events is None or each is None:
        _Walk(limits).visit(document, "", 1)
        return
    if len(events) > limits.max_events:
        _refuse(f"/{each}", f"has more than {limits.max_events} events", "too-many-events")
    _Walk(limits).visit_members(document, "", 1, but=each)
    for index, event in enumerate(events):
        _Walk(limits).visit(event, _below("", each) + f"/{index}", 1)


def _events(document: Any, each: str | None) -> list[Any] | None:  # noqa: ANN401  # JSON
    if each is None or not isinstance(document, dict):
        return None
    events: Any = cast("dict[str, Any]", document).get(each)
    return cast("list[Any]", events) if isinstance(events, list) else None


class _Walk:
    """One event, visited place by place."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.keys = 0

    def visit(self, value: Any, pointer: str, depth: int) -> None:  # noqa: ANN401  # JSON
        match value:
            case str():
                _check_text(value, pointer, "")
            case None | bool():
                pass
            case int():
                if not INTEGER_MIN <= value <= INTEGER_MAX:
                    _refuse(pointer, "is an integer of more than 64 bits", "integer-range")
            case float():
                if not isfinite(value):
                    _refuse(pointer, "is not a finite number", "not-finite")
            case dict():
                self.visit_members(cast("dict[str, Any]", value), pointer, depth)
            case list():
                self._check_depth(pointer, depth)
                for index, item in enumerate(cast("list[Any]", value)):
                    self.visit(item, _below(pointer, str(index)), depth + 1)
            case _:
                _refuse(pointer, "is not JSON", "not-json")

    def visit_members(
        self, members: dict[str, Any], pointer: str, depth: int, *, but: str | None = None
    ) -> None:
        self._check_depth(pointer, depth)
        self.keys += len(members)
        if self.keys > self.limits.max_keys:
            _refuse(pointer, f"brings the keys above {self.limits.max_keys}", "too-many-keys")
        for key, member in members.items():
            if type(key) is not str:
                _refuse(pointer, "has a key that is no text", "not-json")
            _check_text(key, pointer, "has a key that ")
            if key != but:
                self.visit(member, _below(pointer, key), depth + 1)
        if isinstance(members, _Doubled):
            _refuse(_below(pointer, members.key), "is there twice", "duplicate-key")

    def _check_depth(self, pointer: str, depth: int) -> None:
        if depth > self.limits.max_depth:
            _refuse(pointer, f"is nested deeper than {self.limits.max_depth}", "too-deep")


def _check_text(text: str, pointer: str, what: str) -> None:
    if "\x00" in text:
        _refuse(pointer, f"{what}holds the character U+0000", "nul-character")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            _refuse(pointer, f"{what}holds half a surrogate pair", "lone-surrogate")


def _below(pointer: str, key: str) -> str:
    """Return the pointer of a member (RFC 6901), or `pointer` where that would grow too long."""
    longer = f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}"
    return longer if len(longer) <= _POINTER_CHARACTERS else pointer
