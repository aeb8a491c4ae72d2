"""What the collector answers: in the words that Segment's SDKs know, to pages of any site."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from crm_events.gate import LIMITS
from crm_store.errors import LogNotSettledError, NewEpochError, is_dependency_error, sqlstate
from crm_store.log.retried import TooManyConflictsError
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from contacts.collector.body import RefusedRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crm_store.log.position import Position

    from contacts.collector.received import Refused

AWAY: Final = 503
RETRY_AFTER_SECONDS: Final = 1
NOT_MIGRATED: Final = "42P01"
DATA_CLASSES: Final = ("22", "54")

# Any page of any site may send; nothing is ever answered that a page could not know itself.
CROSS_ORIGIN: Final = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT: Final = {
    **CROSS_ORIGIN,
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Content-Encoding, X-Write-Key, "
    "X-Retry-Count, WriteKey",
    "Access-Control-Max-Age": "86400",
}
SUCCESS: Final = b'{"success":true}'


def success(refused: Sequence[Refused], position: Position | None) -> Response:
    """Exactly 200, with what was set aside; the position is for callers that read their writes."""
    body = SUCCESS
    if refused:
        aside = [
            {
                "index": one.at,
                "messageId": _message_id(one.raw),
                "code": one.error.code,
                "detail": f"{one.error.pointer or 'message'}: {one.error.reason}",
            }
            for one in refused
        ]
        body = orjson.dumps({"success": True, "setAside": aside})
    headers = {**CROSS_ORIGIN, **({} if position is None else {"Kith-Position": str(position)})}
    return Response(body, headers=headers, media_type="application/json")


def no_route(known: bool) -> Response:  # noqa: FBT001  # is there such a call, but for its method?
    """What is said where nothing is taken: 405 where POST would be, else 404."""
    if not known:
        return _refused(404, "unknown-call", "There is no such call.")
    answer = _refused(405, "post-only", "Calls are taken by POST.")
    answer.headers["Allow"] = "POST, OPTIONS"
    return answer


def refusal(error: Exception) -> Response | None:  # noqa: PLR0911  # a table
    """What is said about an error; None for one that nobody foresaw."""
    state = sqlstate(error) or ""
    match error:
        case RefusedRequestError():
            return _refused(error.status, error.code, error.message, error.detail)
        case ClientDisconnect():
            return _refused(400, "cut-off", "The body ended early.")
        case TooManyConflictsError() | TimeoutError():
            return _refused(503, "busy", "It could not be written in time; send it again.")
        case LogNotSettledError() | NewEpochError():
            return _refused(503, "log-not-settled", "Nothing is written yet; send it again.")
        case _ if is_dependency_error(error) or state == NOT_MIGRATED:
            return _refused(503, "unavailable", "The database is away; send it again.")
        case _ if state.startswith(DATA_CLASSES):
            return _refused(400, "unstorable", "The database refuses a value in it.")
        case _:
            return None


def _refused(status: int, code: str, message: str, detail: str = "") -> Response:
    again = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == AWAY else {}
    return Response(
        orjson.dumps({"code": code, "message": message, "detail": detail}),
        status,
        headers={**CROSS_ORIGIN, **again},
        media_type="application/json",
    )


def _message_id(raw: object) -> str | None:
    """What the sender can find its message by, where that can be written."""
    told = cast("dict[str, Any]", raw).get("messageId") if isinstance(raw, dict) else None
    match told:
        case str() if len(told) <= LIMITS.max_id_bytes:
            return told.encode(errors="replace").decode()
        case _:
            return None
