"""Settings of sales: its pipelines and its time zone, and what stops the start."""

from __future__ import annotations

from datetime import UTC

import pytest
from crm_chassis.settings import UnsafeSettingsError, load_settings
from sales.deals.pipelines import load_pipelines
from sales.settings import SalesSettings
from told import PIPELINES, PIPELINES_TEXT, SECRET

SAFE = {
    "SALES_DATABASE_URL": "postgresql://sales@localhost/sales",
    "SALES_KAFKA_BOOTSTRAP": "localhost:9092",
    "SALES_HTTP_PORT": "8083",
    "SALES_KEKS": "kek1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in SAFE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_without_more_deals_go_through_the_pipeline_of_the_package_by_utc():
    settings = load_settings(SalesSettings)

    assert settings.pipelines == load_pipelines(None)
    assert settings.time_zone is UTC


def test_pipelines_may_come_from_a_file(environment, tmp_path):
    (tmp_path / "mine.json").write_text(PIPELINES_TEXT)
    environment.setenv("SALES_PIPELINES", f"{tmp_path}/mine.json")

    assert load_settings(SalesSettings).pipelines == PIPELINES


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "JSON"), (PIPELINES_TEXT.replace("0.9", "9"), "pipelines.0.stages.2.probability")],
)
def test_pipelines_that_cannot_be_used_stop_the_start(environment, tmp_path, text, said):
    (tmp_path / "mine.json").write_text(text)
    environment.setenv("SALES_PIPELINES", f"{tmp_path}/mine.json")

    with pytest.raises(UnsafeSettingsError, match=f"(?s)SALES_PIPELINES.*{said}"):
        load_settings(SalesSettings)


def test_pipelines_that_are_not_there_stop_the_start(environment):
    environment.setenv("SALES_PIPELINES", "/nowhere/mine.json")

    with pytest.raises(UnsafeSettingsError, match=r"SALES_PIPELINES .*nowhere"):
        load_settings(SalesSettings)


def test_a_time_zone_is_told_by_its_name(environment):
    environment.setenv("SALES_TIME_ZONE", "Europe/Zurich")

    assert str(load_settings(SalesSettings).time_zone) == "Europe/Zurich"


@pytest.mark.parametrize("name", ["", "Zurich", "../etc/passwd", "+02:00"])
def test_a_time_zone_that_is_none_stops_the_start(environment, name):
    environment.setenv("SALES_TIME_ZONE", name)

    with pytest.raises(UnsafeSettingsError, match="SALES_TIME_ZONE is no time zone"):
        load_settings(SalesSettings)


def test_without_a_mail_server_nobody_is_written_to(environment):
    assert load_settings(SalesSettings).mail_server is None


def test_mail_is_handed_over_encrypted_unless_it_is_told_otherwise(environment):
    environment.setenv("SALES_SMTP_HOST", "mail.shop.test")
    environment.setenv("SALES_SMTP_SENDER", "kith@shop.test")

    server = load_settings(SalesSettings).mail_server

    assert server is not None
    assert (server.host, server.port, server.security) == ("mail.shop.test", 587, "starttls")


@pytest.mark.parametrize("sender", [None, "kith", "Kith <kith@shop.test>"])
def test_a_mail_server_without_an_address_to_write_from_stops_the_start(environment, sender):
    environment.setenv("SALES_SMTP_HOST", "mail.shop.test")
    if sender is not None:
        environment.setenv("SALES_SMTP_SENDER", sender)

    with pytest.raises(UnsafeSettingsError, match="SALES_SMTP_SENDER"):
        load_settings(SalesSettings)


def test_the_domain_that_mail_comes_from_is_told_as_dns_has_it(environment):
    environment.setenv("SALES_SMTP_HOST", "mail.shop.test")
    environment.setenv("SALES_SMTP_SENDER", "kith@bücher.test")

    server = load_settings(SalesSettings).mail_server

    assert server is not None
    assert server.sender == "kith@xn--bcher-kva.test"


@pytest.mark.parametrize(
    ("url", "secret", "said"),
    [
        ("https://erp.shop.test/hooks", None, "SALES_BACK_OFFICE_SECRET is missing"),
        ("http://erp.shop.test/hooks", SECRET, "SALES_BACK_OFFICE_URL must begin with https"),
        ("https://ada:pw@erp.shop.test/", SECRET, "SALES_BACK_OFFICE_URL must name a host"),
    ],
)
def test_half_a_back_office_stops_the_start(environment, url, secret, said):
    environment.setenv("SALES_BACK_OFFICE_URL", url)
    if secret is not None:
        environment.setenv("SALES_BACK_OFFICE_SECRET", secret)

    with pytest.raises(UnsafeSettingsError, match=said):
        load_settings(SalesSettings)
