"""Names of hosts and addresses of mail in the letters that DNS and mail servers take."""

from __future__ import annotations

import idna


def ascii_host(host: str) -> str:
    """The name as DNS has it: `bücher.example` is `xn--bcher-kva.example`.

    Raises:
        ValueError: no host can be called so.
    """
    if host.isascii():
        return host
    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise ValueError("is no name of a host") from None


def mail_address(address: str) -> str:
    """The address with its domain as DNS has it; what stands before the @ stays as it is.

    Raises:
        ValueError: no host can be called as its domain is.
    """
    local, _, domain = address.rpartition("@")
    return f"{local}@{ascii_host(domain)}"
