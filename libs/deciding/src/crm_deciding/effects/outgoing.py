"""Where we may be made to call: a URL is resolved once, checked, and called at that address."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from crm_deciding.effects.hosts import ascii_host

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

LONGEST_URL: Final = 2_000
RESOLVE_WITHIN_S: Final = 5.0
COMPATIBLE: Final = ipaddress.ip_network("::/96")  # RFC 4291, 2.5.5.1
NAT64: Final = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052


class ForbiddenUrlError(Exception):
    """It does not lead where we may call. The text says why, and no secret of the URL."""


@dataclass(frozen=True, slots=True)
class Pinned:
    """A URL whose host is an address that was checked; `host` is what it was by name."""

    url: str
    host: str  # with its port, for the Host header
    server_name: str  # for TLS
    port: int


async def pinned(url: str, *, inside: bool = False) -> Pinned:
    """Resolve a URL once; what is called is the address that was checked.

    `inside` allows addresses that are not of the public internet, and plain http: for receivers of
    the company's own network, as a setting of the operator says.

    Raises:
        ForbiddenUrlError: another scheme, credentials, an unknown host, or an address that is
            loopback, private, link-local, multicast or reserved.
    """
    parts, name, port = _read(url, inside=inside)
    address = await _resolved(name, port)
    if not inside and not _is_public(address):
        raise ForbiddenUrlError("leads to an address that is not of the public internet")
    literal = f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004  # IPv6
    called = urlunsplit((parts.scheme, f"{literal}:{port}", parts.path or "/", parts.query, ""))
    host = f"[{name}]" if ":" in name else name
    return Pinned(called, host if parts.port is None else f"{host}:{port}", name, port)


def check_url(url: str, *, inside: bool = False) -> None:
    """Whether a URL has the form of one that may be called; nothing is resolved.

    Raises:
        ForbiddenUrlError: as `pinned`, but for what is known of addresses alone.
    """
    _read(url, inside=inside)


def _read(url: str, *, inside: bool) -> tuple[SplitResult, str, int]:
    """Its parts, the name of its host as DNS has it, and its port."""
    if len(url) > LONGEST_URL:
        raise ForbiddenUrlError(f"has more than {LONGEST_URL} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ForbiddenUrlError("cannot be read") from None
    if parts.scheme != "https" and not (inside and parts.scheme == "http"):
        raise ForbiddenUrlError("must begin with https://")
    if parts.hostname is None or parts.username is not None or parts.password is not None:
        raise ForbiddenUrlError("must name a host, and nobody's password")
    try:
        name = ascii_host(parts.hostname)
    except ValueError:
        raise ForbiddenUrlError("its host cannot be found") from None
    return parts, name, port or (443 if parts.scheme == "https" else 80)


async def _resolved(host: str, port: int) -> IPv4Address | IPv6Address:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_WITHIN_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: no name that DNS could know
        raise ForbiddenUrlError("its host cannot be found") from None
    return ipaddress.ip_address(str(found[0][4][0]))


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address):
        address = _within(address) or address
    return address.is_global and not address.is_multicast


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, compatible, 6to4, or through NAT64."""
    if any(address in network for network in (COMPATIBLE, NAT64)):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
