"""The pages as a browser shows them, where there is one."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from browser import CHROMIUM, Browser
from system import System, soon

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.xdist_group("e2e"),
    pytest.mark.timeout(240),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here to show the pages in"),
]
FIRST = "document.querySelector('tbody code')?.textContent"
STATE = "document.body.dataset.state"


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def leader(system: System) -> str:
    """The id of a customer who bought just now, more than anybody else."""
    return bought(system, "page-user", 400)


def bought(system: System, user: str, orders: int) -> str:
    """The id of this user, who bought so often and leads for it."""
    batch = [
        {
            "type": "track",
            "event": "Order Completed",
            "messageId": f"{user}-{number}",
            "userId": user,
            "properties": {"order_id": f"{user}-{number}", "total": 10, "currency": "EUR"},
        }
        for number in range(orders)
    ]
    body = {"writeKey": system.write_key("page"), "batch": batch}
    assert httpx.post(f"{system.contacts.url}/v1/batch", json=body, timeout=30).status_code == 200
    with (
        system.caller(system.contacts, "people:read") as people,
        system.caller(system.analytics, "scores:read") as scores,
    ):
        who = people.get("/customers/lookup", params={"namespace": "user", "value": user})
        customer_id: str = who.json()["customer_id"]

        def leads() -> bool:
            best = scores.get("/leaders", params={"limit": 1}).json()["items"]
            return bool(best) and best[0]["customer_id"] == customer_id

        soon(leads)
    return customer_id


@pytest.fixture
def leaders_page(system: System) -> str:
    return f"{system.analytics.url}/leaders.html#key={system.key(system.analytics, 'scores:read')}"


def test_the_page_of_leaders_moves_by_itself_and_resumes_where_it_was(
    system, leader, browser, leaders_page
):
    browser.open(leaders_page)
    browser.wait(f"{FIRST} === '{leader}'")
    browser.wait(f"{STATE} === 'live'")
    assert "purchase" in browser.text()

    another = bought(system, "page-other", 600)
    browser.wait(f"{FIRST} === '{another}'")

    system.analytics.stop()
    browser.wait(f"{STATE} === 'lost'")
    assert "Connection lost" in browser.text()
    assert another in browser.text()

    system.analytics.start()
    system.analytics.wait_ready()
    browser.wait(f"{STATE} === 'live'")
    third = bought(system, "page-third", 800)
    browser.wait(f"{FIRST} === '{third}'")
    assert browser.failed == []


@pytest.mark.parametrize("width", [375, 1440])
def test_the_page_of_leaders_fits_and_can_be_read(leader, browser, leaders_page, width):
    browser.looks(width=width)
    browser.open(leaders_page)
    browser.wait("!document.querySelector('table').hidden")

    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelector('#state').getAttribute('aria-live')") == "polite"
    assert browser.run(
        "[...document.querySelectorAll('thead th')].every((head) => head.scope === 'col')"
    )
    assert browser.run("document.querySelector('tbody th').scope") == "row"


def test_a_page_without_a_good_key_shows_no_customer_and_takes_one(
    system, leader, browser, leaders_page
):
    browser.open(f"{system.analytics.url}/leaders.html#key=wrong")
    browser.wait(f"{STATE} === 'refused'")
    refused = browser.text()

    key = leaders_page.partition("#key=")[2]
    browser.run(
        f"document.querySelector('#key').value = '{key}';"
        "document.querySelector('form').requestSubmit()"
    )
    browser.wait(f"document.body.innerText.includes('{leader}')")

    assert "Send a live API key" in refused
    assert leader not in refused


def test_the_customer_file_shows_who_it_is_and_what_was_bought(system, leader, browser):
    key = system.key(system.contacts, "people:read")

    browser.open(f"{system.contacts.url}/customers/{leader}/file.html#key={key}")
    browser.wait("document.body.innerText.includes('page-user')")

    assert "10.00 EUR" in browser.text()
