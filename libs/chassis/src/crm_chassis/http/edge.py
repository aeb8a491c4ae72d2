"""Around every request: its id, its limits, one line and one metric about it, and no surprise."""

from __future__ import annotations

import re
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from crm_store import metrics, tracing
from crm_store.errors import is_dependency_error
from crm_store.ids import new_id
from opentelemetry.trace import INVALID_SPAN
from starlette.datastructures import Headers, MutableHeaders

from crm_chassis.http.health import PATHS
from crm_chassis.http.problems import (
    Problem,
    invalid_input,
    problem_of,
    problem_response,
    request_urn,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_logger = structlog.stdlib.get_logger(__name__)

_GIVEN_ID: Final = re.compile(r"[\w.-]{1,64}", re.ASCII)
UNMATCHED: Final = "(none)"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Edge:
    """ASGI middleware, the outermost but one. Nothing below it can break a connection."""

    def __init__(
        self, app: ASGIApp, *, max_body_bytes: int, self_limited: tuple[str, ...] = ()
    ) -> None:
        """`self_limited`: beginnings of paths whose routes bound their bodies, and say so."""
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._self_limited = self_limited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)
        request_id = given.get("x-request-id", "")
        if not _GIVEN_ID.fullmatch(request_id):
            request_id = str(new_id())
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id
        bound = None if scope["path"].startswith(self._self_limited) else self._max_body_bytes
        request = _Request(scope, send, state, bound, receive)
        probed = scope["path"] in PATHS
        traceparent = given.get(tracing.TRACEPARENT)
        began = time.perf_counter()
        with nullcontext(INVALID_SPAN) if probed else tracing.serving(traceparent) as span:
            try:
                request.check(given)
                await self._app(scope, request.receive, request.send)
            except Exception as error:  # noqa: BLE001  # answered, or raised again
                await request.fail(error)
            finally:
                request.tell(time.perf_counter() - began, span)


class _Request:
    def __init__(
        self,
        scope: Scope,
        send: Send,
        state: dict[str, Any],
        max_body_bytes: int | None,
        receive: Receive,
    ) -> None:
        self._scope = scope
        self._send = send
        self._receive = receive
        self._state = state
        self._max_body_bytes = max_body_bytes
        self._body_bytes = 0
        self._status: int | None = None
        self._because: str | None = None

    def check(self, given: Headers) -> None:
        """Refuse what can be refused by its head."""
        length = given.get("content-length", "0")
        if length.isdigit():
            self._bound(int(length[:20]))
        if "\x00" in self._scope["path"]:
            raise invalid_input("path", "", "holds the character U+0000")
        if b"%00" in self._scope["query_string"]:
            raise invalid_input("query", "", "holds the character U+0000")

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._body_bytes += len(message.get("body", b""))
            self._bound(self._body_bytes)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._state["request_id"]
            for name, value in cast(
                "Mapping[str, str]", self._state.get("reply_headers", {})
            ).items():
                headers[name] = value
        await self._send(message)

    async def fail(self, error: Exception) -> None:
        """Answer an error that no route answered."""
        problem = problem_of(error)
        if is_dependency_error(error):
            self._because = type(error).__name__  # an outage meets every request: a word is enough
        elif problem is None or problem.status_code >= 500:  # noqa: PLR2004  # HTTP's own number
            _logger.error("http.failed", request=self._state["request_id"], exc_info=error)
        if self._status is not None:
            raise error  # half an answer is out: only breaking off says that it is no answer
        response = problem_response(
            problem or Problem(500, "internal-error", "This is our fault; it has been logged."),
            instance=request_urn(self._state["request_id"]),
        )
        await response(self._scope, self._receive, self.send)

    def tell(self, seconds: float, span: Span) -> None:
        method: str = self._scope["method"] if self._scope["method"] in METHODS else UNMATCHED
        route = route_template(self._scope)
        tracing.served(span, method=method, route=route, status=self._status)
        metrics.HTTP_REQUEST_SECONDS.labels(
            method=method, route=route, status=str(self._status or 0)
        ).observe(seconds)
        if self._scope["path"] in PATHS and self._status == 200:  # noqa: PLR2004
            return
        _logger.info(
            "http.request",
            method=method,
            route=route,
            status=self._status,
            ms=round(seconds * 1000, 1),
            caller=self._state.get("caller"),
            request=self._state["request_id"],
            because=self._because,
        )

    def _bound(self, size: int) -> None:
        most = self._max_body_bytes
        if most is not None and size > most:
            raise Problem(413, "too-large", f"The body takes more than {most} bytes.")


def route_template(scope: Scope) -> str:
    """The path of the route as it is written in code: paths themselves may name people."""
    return cast("str", getattr(scope.get("route"), "path", UNMATCHED))
