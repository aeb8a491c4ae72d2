"""Every refusal over HTTP as a problem document (RFC 9457) with a stable type."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import orjson
from crm_deciding.refusal import Refusal
from crm_events.errors import BadInputError, DestroyedKeyError
from crm_store.errors import (
    LogNotSettledError,
    NewEpochError,
    is_dependency_error,
    sqlstate,
)
from crm_store.log.entries import (
    EventTooLargeError,
    ReservedError,
    VersionConflictError,
)
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:kith:problem:"
RETRY_AFTER_S: Final = 1
MOST_ERRORS: Final = 20
LONGEST_NAME: Final = 255

NOT_THERE: Final = ("42P01", "42703", "42883")  # a table, a column, a function
DIVISION_BY_ZERO: Final = "22012"

Where = dict[str, str]
"""One thing wrong: `in`, `pointer` (RFC 6901), `detail`, perhaps a stable `code`; no value."""

SCHEMA: Final[dict[str, Any]] = {
    "title": "Problem",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "example": f"{TYPE_PREFIX}invalid-input"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "description": "the request, as our logs name it"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "in": {"type": "string", "enum": ["body", "query", "path", "header"]},
                    "pointer": {"type": "string"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}


class Problem(HTTPException):  # RFC 9457's own word
    """An answer that is not the one hoped for. Raised anywhere under a route.

    It is Starlette's exception too, for FastAPI lets nothing else pass while it reads a body.
    """

    def __init__(
        self,
        status: int,
        name: str,
        detail: str = "",
        *,
        errors: Sequence[Where] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, headers)
        self.name = name  # kebab-case; stable, for clients tell problems apart by it
        self.errors = tuple(errors)


def invalid_input(place: str, pointer: str, detail: str) -> Problem:
    """422 for one thing wrong; `place` is body, query, path or header."""
    where = {"in": place, "pointer": pointer[:LONGEST_NAME], "detail": detail}
    return Problem(422, "invalid-input", "The input is refused.", errors=(where,))


def bad_input(error: BadInputError) -> Problem:
    """The problem for what the gate refuses."""
    where = {
        "in": "body", "pointer": error.pointer, "detail": error.reason, "code": error.code
    }  # fmt: skip
    match error.code:
        case "invalid-json" | "invalid-utf8":
            return Problem(400, "malformed-json", "The body is no JSON.", errors=(where,))
        case "too-large":
            return Problem(413, "too-large", f"The body {error.reason}.")
        case _:
            return Problem(422, "invalid-input", "The input is refused.", errors=(where,))


def version_mismatch() -> Problem:
    """For who stated the version that was decided on, and another one is there."""
    return Problem(412, "version-mismatch", "The stream has another version by now.")


def problem_of(  # noqa: C901, PLR0911, PLR0912  # a table: one line per kind of error
    error: Exception, *, if_match: bool = False
) -> Problem | None:
    """The problem an error is answered with; None for one that nobody foresaw.

    `if_match`: the caller stated the version it expects.
    """
    match error:
        case Problem():
            return error
        case Refusal():
            return Problem(409, error.name, error.detail)
        case BadInputError():
            return bad_input(error)
        case RequestValidationError():
            return _invalid(error)
        case VersionConflictError() if if_match:
            return version_mismatch()
        case VersionConflictError():
            return Problem(409, "version-conflict", "Others changed it meanwhile; try again.")
        case ReservedError():
            return Problem(409, "already-taken", f"This {error.kind} belongs to another.")
        case EventTooLargeError():
            detail = f"The event takes {error.size} bytes, the limit is {error.limit}."
            return Problem(413, "too-large", detail)
        case DestroyedKeyError():
            return Problem(410, "erased", "This person was erased; nothing more is recorded.")
        case HTTPException():
            name = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-")
            return Problem(error.status_code, name, error.detail, headers=error.headers)
        case LogNotSettledError() | NewEpochError():
            detail = "The database may have been restored; nothing is written until that is clear."
            return _unavailable("log-not-settled", detail)
        case _ if is_dependency_error(error):
            return _unavailable("dependency-away", "Something this service stands on is away.")
        case _:
            return _of_state(sqlstate(error) or "")


def problem_response(problem: Problem, *, instance: str) -> Response:
    document: dict[str, Any] = {
        "type": TYPE_PREFIX + problem.name,
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "instance": instance,
    }
    if problem.detail:
        document["detail"] = problem.detail
    if problem.errors:
        document["errors"] = problem.errors
    return Response(
        orjson.dumps(document), problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE
    )


def request_urn(request_id: str) -> str:
    return f"urn:kith:request:{request_id}"


def add_problem_handlers(app: FastAPI) -> None:
    """Have every foreseen error under a route answered; the others are left to the edge."""
    for kind in (
        Refusal,
        BadInputError,
        RequestValidationError,
        VersionConflictError,
        ReservedError,
        EventTooLargeError,
        DestroyedKeyError,
        LogNotSettledError,
        NewEpochError,
        HTTPException,
    ):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    problem = problem_of(error, if_match="if-match" in request.headers)
    if problem is None:
        raise error
    return problem_response(problem, instance=request_urn(request.scope["state"]["request_id"]))


def _invalid(error: RequestValidationError) -> Problem:
    found: Sequence[Mapping[str, Any]] = error.errors()
    if any(each["type"] == "json_invalid" for each in found):
        return Problem(400, "malformed-json", "The body is no JSON.")
    errors: list[Where] = []
    for each in found[:MOST_ERRORS]:
        place, *path = (str(part) for part in each["loc"])
        steps = [step.replace("~", "~0").replace("/", "~1") for step in path]
        pointer = "".join(f"/{step}" for step in steps)[:LONGEST_NAME]
        errors.append({"in": place, "pointer": pointer, "detail": str(each["msg"])})
    return Problem(422, "invalid-input", "The input is refused.", errors=errors)


def _of_state(state: str) -> Problem | None:
    if state in NOT_THERE:
        return _unavailable("not-migrated", "The database is not prepared yet.")
    if state.startswith("22") and state != DIVISION_BY_ZERO:
        # A value that passed all gates and is none to PostgreSQL: the caller's, not our failure.
        return Problem(422, "invalid-input", "The database refuses a value of the input.")
    return None


def _unavailable(name: str, detail: str) -> Problem:
    return Problem(503, name, detail, headers={"Retry-After": str(RETRY_AFTER_S)})
