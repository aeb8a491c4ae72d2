"""What an operator is told to watch is there to be scraped."""

from __future__ import annotations

import re
import time
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from system import SOON_SECONDS, System

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e"), pytest.mark.timeout(240)]

ALERTS = Path(__file__).resolve().parents[2] / "docs/alerts.yml"
OF_A_READER = {
    "kith_oldest_xid_age_seconds", "kith_relay_age_seconds", "kith_inbox_age_seconds",
    "kith_inbox_behind_records", "kith_inbox_holding", "kith_parked_keys",
    "kith_projection_age_seconds", "kith_lease_held", "kith_loop_beat_age_seconds",
}  # fmt: skip


def scraped(url: str) -> tuple[set[str], set[str]]:
    """Names of the metrics that a process has, and of those that have a value."""
    families = list(text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text))
    samples = {sample.name for family in families for sample in family.samples}
    return {f"{one.name}_total" if one.type == "counter" else one.name for one in families}, samples


def test_a_running_service_exports_what_alerts_ask_for(system: System):
    page = {"type": "page", "anonymousId": "scraped", "messageId": "scraped-1", "name": "Pricing"}
    url, auth = f"{system.contacts.url}/v1/page", (system.write_key("scraped"), "")
    assert httpx.post(url, json=page, auth=auth, timeout=30).status_code == 200
    asked = set(re.findall(r"\b(?:kith|analytics)_[a-z_]+\b", ALERTS.read_text()))
    deadline = time.monotonic() + SOON_SECONDS
    while not scraped(system.analytics_worker.url)[1] >= OF_A_READER:
        assert time.monotonic() < deadline, OF_A_READER - scraped(system.analytics_worker.url)[1]
        time.sleep(0.2)  # noqa: TID251  # another process' gauges set no event here

    exported = {name for process in system.processes for name in scraped(process.url)[0]}

    assert {name.removesuffix("_count") for name in asked} <= exported
