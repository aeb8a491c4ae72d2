"""What operators are told of metrics is what the services export."""

from __future__ import annotations

import re
from pathlib import Path

import analytics.bootstrap  # noqa: F401  # this and the next two fill the registry
import contacts.collector.collector  # noqa: F401
import crm_store.metrics  # noqa: F401
import pytest
import yaml
from prometheus_client import REGISTRY, Metric

ROOT = Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "docs/alerts.yml").read_text())["groups"][0]["rules"]
TABLE = (ROOT / "docs/operations.md").read_text().split("## Metrics")[1].split("\n## ")[0]
OURS = ("kith_", "analytics_")
NAME = re.compile(rf"\b(?:{'|'.join(OURS)})[a-z_]+\b")
UNITS = ("_seconds", "_records", "_total")
COUNTED = {"kith_lease_held", "kith_log_settled", "kith_inbox_holding", "kith_inbox_stopped",
           "kith_projection_stopped", "kith_inbox_partitions", "kith_parked_keys",
           "kith_projection_rows_behind", "kith_live_clients", "analytics_redis_up",
           "kith_projection_paused", "kith_projection_building"}  # fmt: skip
BOUNDED = {"topic", "partition", "outcome", "projection", "reaction", "effect", "decider", "lease",
           "loop", "method", "route", "status", "cause", "source", "stream", "reason",
           "model"}  # fmt: skip


def exported() -> dict[str, Metric]:
    """Metrics by the name that they are asked for."""
    ours = [one for one in REGISTRY.collect() if one.name.startswith(OURS)]
    return {one.name + ("_total" if one.type == "counter" else ""): one for one in ours}


def named_in(text: str) -> set[str]:
    return {name.removesuffix("_count") for name in NAME.findall(text)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_there_are(rule):
    assert named_in(rule["expr"]) <= exported().keys()
    assert named_in(rule["expr"])


def test_an_alert_leads_to_a_runbook_that_there_is():
    pages = {rule["annotations"]["runbook"] for rule in RULES if "runbook" in rule["annotations"]}

    assert [page for page in pages if not (ROOT / page).is_file()] == []


def test_the_table_lists_every_metric_and_no_other():
    assert named_in(TABLE) == exported().keys()


@pytest.mark.parametrize("name", exported())
def test_a_metric_is_named_explained_and_labelled_as_prometheus_has_it(name):
    metric = exported()[name]
    labels = REGISTRY._names_to_collectors[name]._labelnames

    assert name.endswith(UNITS) or name in COUNTED
    assert metric.documentation.endswith(".")
    assert set(labels) <= BOUNDED
