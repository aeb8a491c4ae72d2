"""A URL that somebody gave leads to the public internet, or nowhere."""

from __future__ import annotations

import socket

import pytest
from crm_deciding.effects.outgoing import ForbiddenUrlError, pinned

PUBLIC = "93.184.216.34"


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names lead to one address after the other; which were asked for."""
    asked: list[str] = []

    async def getaddrinfo(self, host, port, **_):
        asked.append(host)
        address = addresses[min(len(asked), len(addresses)) - 1]
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", getaddrinfo)
    return asked


async def test_what_is_called_is_the_address_that_was_checked(monkeypatch):
    asked = resolving_to(monkeypatch, PUBLIC, "127.0.0.1")

    target = await pinned("https://hooks.example/path?a=1#part")

    assert target.url == f"https://{PUBLIC}:443/path?a=1"
    assert (target.host, target.server_name) == ("hooks.example", "hooks.example")
    assert asked == ["hooks.example"]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0.0.0.0",  # noqa: S104  # refused
        "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "fe80::1", "fc00::1",
        "::ffff:10.0.0.1", "ff02::1", "2001:db8::1", "::10.0.0.1", "64:ff9b::a00:1",
        "2002:a00:1::1",
    ],
)  # fmt: skip
async def test_an_address_that_is_not_of_the_public_internet_is_refused(monkeypatch, address):
    resolving_to(monkeypatch, address)

    with pytest.raises(ForbiddenUrlError, match="public internet"):
        await pinned("https://hooks.example/")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://hooks.example/", "https"),
        ("ftp://hooks.example/", "https"),
        ("//hooks.example/", "https"),
        ("https:///path", "name a host"),
        ("https://ada:secret@hooks.example/", "password"),
        ("https://hooks.example:99999/", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://hooks.example/" + "a" * 2_000, "characters"),
    ],
)
async def test_a_url_of_another_form_is_refused_and_not_repeated(monkeypatch, url, reason):
    resolving_to(monkeypatch, PUBLIC)

    with pytest.raises(ForbiddenUrlError, match=reason) as refused:
        await pinned(url)

    assert "secret" not in str(refused.value)


async def test_the_companys_own_network_is_called_where_a_setting_says_so(monkeypatch):
    resolving_to(monkeypatch, "10.1.2.3")

    target = await pinned("http://erp.intern:8080/hooks", inside=True)

    assert target.url == "http://10.1.2.3:8080/hooks"
    assert target.host == "erp.intern:8080"


async def test_a_name_in_other_letters_is_called_as_dns_has_it(monkeypatch):
    asked = resolving_to(monkeypatch, PUBLIC)

    target = await pinned("https://Bücher.example:8443/")

    assert target.host == "xn--bcher-kva.example:8443"
    assert asked == [target.server_name] == ["xn--bcher-kva.example"]


async def test_an_address_behind_nat64_that_is_public_is_called(monkeypatch):
    resolving_to(monkeypatch, "64:ff9b::5db8:d822")

    assert (await pinned("https://hooks.example/")).url == "https://[64:ff9b::5db8:d822]:443/"


async def test_an_ipv6_address_is_called_in_brackets(monkeypatch):
    resolving_to(monkeypatch, "2606:2800:220:1::1")

    assert (await pinned("https://hooks.example/")).url == "https://[2606:2800:220:1::1]:443/"
