"""Authenticated ciphertext as text: AES-256-GCM under a fresh nonce, "<nonce>.<ciphertext>"."""

from __future__ import annotations

import os
from binascii import Error, a2b_base64, b2a_base64
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
_NONCE_CHARACTERS: Final = 16  # base64 of 12 bytes needs no padding
_TO_URL: Final = bytes.maketrans(b"+/", b"-_")


class BlobError(Exception):
    """Not a blob, or not one that this key and this associated data authenticate."""


def encrypt(key: bytes, plaintext: bytes, associated: bytes) -> str:
    """Return `plaintext` as a blob: base64url without padding, the tag at its end."""
    nonce = os.urandom(NONCE_BYTES)
    # One encoding serves both parts: 12 bytes end on a base64 boundary.
    text = b2a_base64(nonce + AESGCM(key).encrypt(nonce, plaintext, associated), newline=False)
    text = text.rstrip(b"=").translate(_TO_URL).decode("ascii")
    return f"{text[:_NONCE_CHARACTERS]}.{text[_NONCE_CHARACTERS:]}"


def decrypt(key: bytes, blob: str, associated: bytes) -> bytes:
    """Return the plaintext of `blob`.

    Raises:
        BlobError: it is malformed or was changed, or key or associated data are other ones.
    """
    nonce, dot, sealed = blob.partition(".")
    if not dot or len(nonce) != _NONCE_CHARACTERS:
        raise BlobError("not a nonce and a ciphertext")
    text = (nonce + sealed).replace("-", "+").replace("_", "/")
    try:
        raw = a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
        return AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], associated)
    except InvalidTag:
        problem = "not authentic"
    except (Error, ValueError):
        problem = "not base64url"
    raise BlobError(problem)
