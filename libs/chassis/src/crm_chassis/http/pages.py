"""Some of many at a time, by a cursor that stands for the place of the last row."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Final, Generic, TypeVar

from crm_events.errors import BadInputError
from crm_events.gate import check_value
from fastapi import Depends, Query
from pydantic import BaseModel, TypeAdapter, ValidationError

from crm_chassis.http.problems import invalid_input

LONGEST_CURSOR: Final = 1_024
LARGEST_PAGE: Final = 1_000

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """Some of many. `next` goes into `?cursor=`; None: these were the last."""

    items: list[T]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class PageQuery:
    """Which page is asked for. `cursor` is opaque; see `read_cursor`."""

    limit: int
    cursor: str | None


async def _page_query(
    limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 100,
    cursor: Annotated[str | None, Query(max_length=LONGEST_CURSOR)] = None,
) -> PageQuery:
    return PageQuery(limit, cursor)


Paging = Annotated[PageQuery, Depends(_page_query)]


def write_cursor(kind: TypeAdapter[T], place: T) -> str:
    """A cursor for the place of a page's last row, such as `(occurred_at, event_id)`."""
    return base64.urlsafe_b64encode(kind.dump_json(place)).rstrip(b"=").decode()


def read_cursor(kind: TypeAdapter[T], cursor: str | None) -> T | None:
    """The place a cursor stands for; None for the first page. Answers 422 to what is none."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place = kind.validate_json(base64.b64decode(padded, altchars=b"-_", validate=True))
        check_value(kind.dump_python(place, mode="json"))
    except (binascii.Error, UnicodeError, ValidationError, BadInputError):
        raise invalid_input("query", "/cursor", "is not one of ours") from None
    return place
