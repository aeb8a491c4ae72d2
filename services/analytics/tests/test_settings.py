"""Settings of analytics: which models it scores by, and what stops the start."""

from __future__ import annotations

import pytest
from analytics.settings import AnalyticsSettings
from crm_chassis.settings import UnsafeSettingsError, load_settings
from heard import MODEL

SAFE = {
    "ANALYTICS_DATABASE_URL": "postgresql://analytics@localhost/analytics",
    "ANALYTICS_KAFKA_BOOTSTRAP": "localhost:9092",
    "ANALYTICS_HTTP_PORT": "8082",
    "ANALYTICS_KEKS": "kek1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in SAFE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_without_a_model_the_one_of_the_package_scores():
    settings = load_settings(AnalyticsSettings)

    assert [model.name for model in settings.models] == ["engagement"]


def test_models_may_come_from_files(environment, tmp_path):
    (tmp_path / "one.json").write_text(MODEL)
    (tmp_path / "two.json").write_text(MODEL.replace('"name": "test"', '"name": "other"'))
    environment.setenv("ANALYTICS_MODELS", f"{tmp_path}/one.json, {tmp_path}/two.json")

    settings = load_settings(AnalyticsSettings)

    assert [model.name for model in settings.models] == ["test", "other"]


@pytest.mark.parametrize(
    ("text", "said"), [("{", "JSON"), (MODEL.replace("Pays.", "Pays"), "full stop")]
)
def test_a_model_that_cannot_be_used_stops_the_start(environment, tmp_path, text, said):
    (tmp_path / "one.json").write_text(text)
    environment.setenv("ANALYTICS_MODELS", f"{tmp_path}/one.json")

    with pytest.raises(UnsafeSettingsError, match=f"(?s)ANALYTICS_MODELS.*{said}"):
        load_settings(AnalyticsSettings)


def test_one_model_twice_stops_the_start(environment, tmp_path):
    (tmp_path / "one.json").write_text(MODEL)
    environment.setenv("ANALYTICS_MODELS", f"{tmp_path}/one.json,{tmp_path}/one.json")

    with pytest.raises(UnsafeSettingsError, match="twice"):
        load_settings(AnalyticsSettings)


@pytest.mark.parametrize("url", ["http://redis:6379", "redis:///0", "redis://h:0/0", "redis://h:x"])
def test_an_address_where_no_redis_can_be_stops_the_start_and_is_not_shown(environment, url):
    environment.setenv("ANALYTICS_REDIS_URL", url)

    with pytest.raises(UnsafeSettingsError, match="ANALYTICS_REDIS_URL") as refused:
        load_settings(AnalyticsSettings)

    assert url not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["javascript:{customer_id}", "http://x/", 'http://x/"{customer_id}']
)
def test_an_address_that_no_page_may_link_to_stops_the_start(environment, url):
    environment.setenv("ANALYTICS_CUSTOMER_FILE_URL", url)

    with pytest.raises(UnsafeSettingsError, match="ANALYTICS_CUSTOMER_FILE_URL"):
        load_settings(AnalyticsSettings)
