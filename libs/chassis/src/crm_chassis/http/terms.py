"""The terms a command comes under: the version it was decided on, and how it is told again."""

import re
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Header, Request

from crm_chassis.http.idempotency import Asked, asked_by
from crm_chassis.http.problems import invalid_input

LARGEST_VERSION = 2**31 - 1
_VERSION = re.compile(r'("?)([0-9]{1,10})\1', re.ASCII)


@dataclass(frozen=True, slots=True)
class CommandTerms:
    """`if_match`: the stream's version its caller decided on. `asked`: under which key it came."""

    request_id: str
    if_match: int | None
    asked: Asked | None

    def item(self, number: int, *, if_match: int | None = None) -> "CommandTerms":
        """The terms of one item of a bulk command."""
        return replace(self, asked=self.asked and self.asked.item(number), if_match=if_match)


async def _terms(
    request: Request,
    if_match: Annotated[str | None, Header()] = None,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> CommandTerms:
    return CommandTerms(
        request.state.request_id, _version(if_match), await asked_by(request, idempotency_key)
    )


def _version(stated: str | None) -> int | None:
    if stated is None:
        return None
    found = _VERSION.fullmatch(stated.strip())
    if found is not None and int(found[2]) <= LARGEST_VERSION:
        return int(found[2])
    raise invalid_input("header", "/If-Match", "is a stream's version in double quotes")


Terms = Annotated[CommandTerms, Depends(_terms)]
"""From `If-Match: "3"` and `Idempotency-Key`; for routes behind `requires`."""


async def _terms_of_several(terms: Terms) -> CommandTerms:
    if terms.if_match is not None:
        raise invalid_input("header", "/If-Match", "is of one stream: each item states its own")
    return terms


TermsOfSeveral = Annotated[CommandTerms, Depends(_terms_of_several)]
"""The same for a bulk command: an `If-Match` of the whole is refused."""


def etag(version: int) -> str:
    """The `ETag` of a stream's version."""
    return f'"{version}"'
