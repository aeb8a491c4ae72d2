"""Webhooks as Standard Webhooks has them: signed, with an id by which repeats are known.

Source: https://github.com/standard-webhooks/standard-webhooks, version 1.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx
import orjson
from crm_store import tracing
from standardwebhooks.webhooks import Webhook as Signature

from crm_deciding.effects.intent import Webhook
from crm_deciding.effects.outgoing import ForbiddenUrlError, pinned
from crm_deciding.effects.sending import Later, Never, Outcome, Sent, Unknown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from crm_store.clock import Clock

    from crm_deciding.effects.intent import Message
    from crm_deciding.effects.outgoing import Pinned

CONNECT_WITHIN_S: Final = 5.0
ANSWER_WITHIN_S: Final = 15.0
"""What Standard Webhooks recommends to wait."""
LONGEST_RETRY_AFTER_S: Final = 3600.0
FEWEST_SECRET_BYTES: Final = 24
MOST_SECRET_BYTES: Final = 64
"""As Standard Webhooks has it."""

_SLOW_DOWN: Final = frozenset({429, 503})
_GONE: Final = 410


def is_secret(text: str) -> bool:
    """Is it a secret to sign with: "whsec_" and base64 of 24 to 64 bytes?"""
    prefix, _, encoded = text.partition("_")
    try:
        material = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return False
    return prefix == "whsec" and FEWEST_SECRET_BYTES <= len(material) <= MOST_SECRET_BYTES


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a webhook goes. `secret`: see `is_secret`; `inside`: see `outgoing.pinned`."""

    url: str
    secret: str = field(repr=False)
    inside: bool = False


class WebhookChannel:
    """Calls endpoints by their names in the settings."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], *, client: httpx.AsyncClient, clock: Clock
    ) -> None:
        self._endpoints = endpoints
        self._client = client
        self._clock = clock

    async def send(self, intent_id: UUID, message: Message) -> Outcome:
        if not isinstance(message, Webhook):
            return Never("this is no webhook")
        endpoint = self._endpoints.get(message.endpoint)
        if endpoint is None:
            return Later(f"no endpoint {message.endpoint} is set up here")
        try:
            target = await pinned(endpoint.url, inside=endpoint.inside)
        except ForbiddenUrlError as forbidden:
            return Later(f"the URL {forbidden}")
        try:
            with tracing.calling(f"POST {message.endpoint}", _about(target)) as span:
                answer = await self._call(endpoint, target, intent_id, self._body(message))
                tracing.answered(span, answer.status_code)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            return Later(type(error).__name__)
        except httpx.HTTPError as error:
            return Unknown(type(error).__name__)
        return _outcome(answer)

    async def _call(
        self, endpoint: Endpoint, target: Pinned, intent_id: UUID, body: str
    ) -> httpx.Response:
        signed = self._signed(endpoint, intent_id, body)
        return await self._client.post(
            target.url,
            content=body,
            headers={"Host": target.host, **signed, **tracing.carried()},
            extensions={"sni_hostname": target.server_name},
            follow_redirects=False,
            timeout=httpx.Timeout(ANSWER_WITHIN_S, connect=CONNECT_WITHIN_S),
        )

    def _body(self, webhook: Webhook) -> str:
        told = {
            "type": webhook.type,
            "timestamp": self._clock().isoformat(),
            "data": dict(webhook.data),
        }
        return orjson.dumps(told).decode()

    def _signed(self, endpoint: Endpoint, intent_id: UUID, body: str) -> dict[str, str]:
        now, name = self._clock(), f"msg_{intent_id.hex}"
        return {
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Signature(endpoint.secret).sign(name, now, body),
            "Content-Type": "application/json",
            "User-Agent": "Kith",
        }


def _about(target: Pinned) -> dict[str, str | int]:
    """Of its URL the host alone: a path may be a secret."""
    return {
        "http.request.method": "POST",
        "server.address": target.server_name,
        "server.port": target.port,
    }


def _outcome(answer: httpx.Response) -> Outcome:
    told = f"HTTP {answer.status_code}"
    if answer.is_success:
        return Sent(told)
    if answer.status_code == _GONE:
        return Never(told)
    if answer.status_code in _SLOW_DOWN:
        return Later(told, _retry_after(answer))
    return Later(told)


def _retry_after(answer: httpx.Response) -> float | None:
    told = answer.headers.get("retry-after", "")
    if not (told.isascii() and told.isdigit()):
        return None
    return min(float(told), LONGEST_RETRY_AFTER_S)
