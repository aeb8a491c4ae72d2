"""The body of a request: received, inflated and parsed within limits, and who sent it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from crm_events.errors import BadInputError
from crm_events.gate import BATCH_LIMITS, LIMITS, parse_json, parse_unchecked

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Mapping

MAX_BODY_BYTES: Final = BATCH_LIMITS.max_bytes
MAX_EVENT_BYTES: Final = LIMITS.max_bytes
STATUS: Final = {"too-large": 413, "erased": 410}
"""Of what is refused; everything else is 400."""

RECEIVE_SECONDS: Final = 30.0
KEYLESS_RECEIVE_SECONDS: Final = 5.0
"""From a sender whose key, if there is any, stands in the body that is still to come."""
INFLATE_STEP_BYTES: Final = 64 * 1024

# Window bits of zlib: gzip; zlib's own wrapping, which is what "deflate" means; none at all,
# which is what some senders think it means.
GZIP_BITS: Final = 16 + zlib.MAX_WBITS
ZLIB_BITS: Final = zlib.MAX_WBITS
RAW_BITS: Final = -zlib.MAX_WBITS


class RefusedRequestError(Exception):
    """The request as a whole cannot be taken; answered with `status`, `code` and `message`."""

    def __init__(self, status: int, code: str, message: str, detail: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail  # JSON pointer to what is wrong, where there is one


@dataclass(frozen=True, slots=True)
class Batch:
    """What a batch body holds. Unless it is `clean`, each message is still to be checked."""

    envelope: dict[str, Any]  # sentAt, context, integrations, writeKey
    messages: list[Any]
    clean: bool


async def receive(chunks: AsyncIterable[bytes], *, seconds: float) -> bytes:
    """The body as it was sent, at most 4 MB, within so many seconds.

    Raises:
        RefusedRequestError: 413, 408.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise _too_large()
                parts.append(chunk)
    except TimeoutError as error:
        raise RefusedRequestError(
            408, "too-slow", f"The body did not arrive within {seconds:.0f} s."
        ) from error
    return b"".join(parts)


def inflate(body: bytes, encoding: str | None) -> bytes:
    """The body without its Content-Encoding, at most 4 MB; the content type has no say.

    Raises:
        RefusedRequestError: 413, 415, or 400 where it is not what the encoding says.
    """
    match (encoding or "identity").strip().lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _inflated(body, GZIP_BITS)
        case "deflate":
            # The low nibble of zlib's first byte is 8; that of a raw stream hardly ever is.
            zlib_wrapped = bool(body) and body[0] & 0x0F == 8  # noqa: PLR2004  # RFC 1950
            return _inflated(body, ZLIB_BITS if zlib_wrapped else RAW_BITS)
        case _:
            raise RefusedRequestError(
                415,
                "unknown-encoding",
                "The Content-Encoding is none of gzip, deflate and identity.",
                "Content-Encoding",
            )


def parse_one(body: bytes) -> dict[str, Any]:
    """The message that the body of a single call is.

    Raises:
        RefusedRequestError: 400, 413.
    """
    try:
        return _object(parse_json(body, limits=LIMITS))
    except BadInputError as error:
        raise refused(error) from error


def parse_batch(body: bytes) -> Batch:
    """The batch that a body is, as a whole good enough to be taken at least in part.

    Raises:
        RefusedRequestError: 400, 413.
    """
    clean = len(body) <= MAX_EVENT_BYTES
    try:
        document = _object(parse_json(body, limits=BATCH_LIMITS, each="batch"))
    except BadInputError as error:
        if not error.pointer.startswith("/batch/"):
            raise refused(error) from error
        document = _object(parse_unchecked(body))
        clean = False
    messages: Any = document.pop("batch", None)
    if not isinstance(messages, list):
        raise RefusedRequestError(400, "missing-batch", "The field batch is no list.", "/batch")
    return Batch(document, cast("list[Any]", messages), clean)


def refused(error: BadInputError) -> RefusedRequestError:
    """The answer to a request that is bad as a whole."""
    field = error.pointer.removeprefix("/").replace("/", ".") or "The body"
    return RefusedRequestError(
        STATUS.get(error.code, 400), error.code, f"{field} {error.reason}.", error.pointer
    )


def write_key_of(headers: Mapping[str, str]) -> str | None:
    """The write key in the headers: Basic (as user name), Bearer, or one of its own.

    Raises:
        RefusedRequestError: 401, credentials that are neither.
    """
    given = headers.get("authorization")
    if given is None:
        return headers.get("x-write-key") or headers.get("writekey")
    scheme, _, credentials = given.strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return credentials.strip()
        case "basic":
            try:
                told = base64.b64decode(credentials.strip(), validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise unknown_write_key() from error
            return told.partition(":")[0]
        case _:
            raise unknown_write_key()


def unknown_write_key() -> RefusedRequestError:
    return RefusedRequestError(401, "unknown-write-key", "No live write key was given.", "writeKey")


def _inflated(body: bytes, window_bits: int) -> bytes:
    """Inflate step by step, so that a bomb is refused when it passes the limit, not after."""
    inflating = zlib.decompressobj(window_bits)
    parts: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest and not inflating.eof:
            part = inflating.decompress(rest, INFLATE_STEP_BYTES)
            rest = inflating.unconsumed_tail
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            parts.append(part)
        # What the decompressor still holds back is at most one step.
        while not inflating.eof and (part := inflating.decompress(b"", INFLATE_STEP_BYTES)):
            size += len(part)
            if size > MAX_BODY_BYTES:
                raise _too_large()
            parts.append(part)
    except zlib.error as error:
        raise _not_inflatable() from error
    if not inflating.eof or inflating.unused_data:
        raise _not_inflatable()
    return b"".join(parts)


def _object(document: object) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise RefusedRequestError(400, "not-an-object", "The body is no JSON object.")
    return cast("dict[str, Any]", document)


def _too_large() -> RefusedRequestError:
    return RefusedRequestError(
        413, "too-large", f"The body is above {MAX_BODY_BYTES} bytes, inflated or not."
    )


def _not_inflatable() -> RefusedRequestError:
    return RefusedRequestError(
        400, "not-compressed", "The body is not what Content-Encoding says.", "Content-Encoding"
    )
