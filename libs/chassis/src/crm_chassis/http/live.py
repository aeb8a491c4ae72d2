"""Live reads: a route that streams what changes (server-sent events), resumed by the last id."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Depends, Header, Query
from sse_starlette.sse import EventSourceResponse, SendTimeoutError
from starlette.types import Receive, Scope, Send

from crm_chassis.http.live_client import Client, Message
from crm_chassis.http.live_feed import Feed
from crm_chassis.http.live_history import LONGEST_ID

SEND_WITHIN_S: Final = 30.0
"""A client that takes nothing for so long is let go."""
CUT_AFTER_S: Final = 1.0
"""One that was ended has so long to read what is on its way."""


class CutOffError(Exception):
    """A client was ended and does not read."""


class LiveResponse(EventSourceResponse):
    """The answer of a route that streams. Its client leaves when it ends, however it does."""

    media_type = "text/event-stream"

    def __init__(self, client: Client) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType]  # a dict of no type
            client.chunks(),
            ping=0,  # the client's own say how far it is
            send_timeout=SEND_WITHIN_S,
            data_sender_callable=self._cut,
        )
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except* SendTimeoutError:
            self._client.end("slow")
        except* CutOffError:
            pass  # half an answer is out: returning breaks it off
        finally:
            self._client.end("gone")

    async def _cut(self) -> None:
        await self._client.ended.wait()
        await asyncio.sleep(CUT_AFTER_S)
        raise CutOffError


async def _last_seen(
    last_event_id: Annotated[
        str | None,
        Header(max_length=LONGEST_ID, description="Resume behind it; browsers send it."),
    ] = None,
    resumed: Annotated[
        str | None,
        Query(alias="last_event_id", max_length=LONGEST_ID, description="The same, for tools."),
    ] = None,
) -> str | None:
    return last_event_id or resumed or None


LastSeen = Annotated[str | None, Depends(_last_seen)]
"""The id of the last message that a client has: the header's, else that of `?last_event_id=`."""


async def answer_live(
    feed: Feed, last_id: str | None, wants: Callable[[Message], bool] = lambda _: True
) -> LiveResponse:
    """Stream to this caller what `wants` of the feed. Answers 503 where it cannot."""
    return LiveResponse(await feed.listen(last_id, wants))
