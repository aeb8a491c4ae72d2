from __future__ import annotations

import base64

import pytest
from crm_chassis.settings import (
    SecretKey,
    ServiceSettings,
    UnsafeSettingsError,
    is_superuser_url,
    load_settings,
)
from pydantic_settings import SettingsConfigDict

KEY = bytes(range(100, 132))
ENCODED = base64.b64encode(KEY).decode()
OTHER = base64.urlsafe_b64encode(bytes(range(220, 252))).decode().rstrip("=")

GOOD = {
    "PROBE_DATABASE_URL": "postgresql://probe:hunter2@127.0.0.1/probe",
    "PROBE_KAFKA_BOOTSTRAP": "127.0.0.1:9092,127.0.0.2:9092",
    "PROBE_HTTP_PORT": "8080",
    "PROBE_KEKS": f"b:{ENCODED},a:{OTHER}",
    "PROBE_DIGEST_KEY": ENCODED,
}


class ProbeSettings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="PROBE_")

    digest_key: SecretKey


@pytest.fixture
def environment(monkeypatch):
    def put(**changed: str | None) -> None:
        for name, value in (GOOD | changed).items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return put


def test_good_settings_are_read_and_the_first_key_is_the_current_one(environment):
    environment()

    settings = load_settings(ProbeSettings)

    assert [kek.kek_id for kek in settings.keks] == ["b", "a"]
    assert settings.keks[0].material == settings.digest_key.get_secret_value() == KEY
    assert settings.http_host == "127.0.0.1"
    assert settings.instance


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("PROBE_KEKS", None, "is missing"),
        ("PROBE_KEKS", "", "must be <id>"),
        ("PROBE_KEKS", ENCODED, "must be <id>"),
        ("PROBE_KEKS", f"a:{ENCODED},a:{OTHER}", "twice"),
        ("PROBE_KEKS", "a:" + base64.b64encode(bytes(32)).decode(), "no random key"),
        ("PROBE_KEKS", "a:" + base64.b64encode(KEY[:31]).decode(), "32 bytes"),
        ("PROBE_KEKS", "a:!!!", "not base64"),
        ("PROBE_DIGEST_KEY", None, "is missing"),
        ("PROBE_DIGEST_KEY", base64.b64encode(b"secret").decode(), "32 bytes"),
        ("PROBE_DIGEST_KEY", base64.b64encode(b"a" * 32).decode(), "no random key"),
        ("PROBE_DATABASE_URL", "postgresql://127.0.0.1/probe", "names no user"),
        ("PROBE_DATABASE_URL", "postgresql://probe@127.0.0.1", "names no database"),
        ("PROBE_DATABASE_URL", "postgresql://u@127.0.0.1:notaport/db", "host or port"),
        ("PROBE_DATABASE_URL", "postgresql://u@127.0.0.1:99999/db", "host or port"),
        ("PROBE_DATABASE_URL", "postgresql://u@127.0.0.1:0/db", "port 0"),
        ("PROBE_DATABASE_URL", "postgresql://u@[::1/db", "host or port"),
        ("PROBE_DATABASE_URL", "postgresql://u@one:5432,two:http/db", "host or port"),
        ("PROBE_DATABASE_URL", "postgresql://u@/db?host=/run&port=x", "host or port"),
        ("PROBE_DATABASE_URL", "mysql://probe@127.0.0.1/probe", "postgresql://"),
        ("PROBE_HTTP_PORT", "70000", "is refused"),
        ("PROBE_HTTP_PORT", "http", "is refused"),
        ("PROBE_KAFKA_BOOTSTRAP", "broker", "right form"),
        ("PROBE_INSTANCE", "two words", "right form"),
        ("PROBE_SHUTDOWN_SECONDS", "60", "is refused"),
        ("PROBE_LOG_FORMAT", "yaml", "is refused"),
        ("PROBE_WRITES", "contacts.person.linked", "must be <type>:<version>"),
        ("PROBE_WRITES", "contacts.person.linked:one", "must be <type>:<version>"),
        ("PROBE_WRITES", "contacts.person.linked:1,contacts.person.linked:1", "twice"),
        ("PROBE_WRITES", "contacts.person.linked:99", "cannot be written as version 99"),
        ("PROBE_WRITES", "sales.deal.imagined:1", "is no type of the contract"),
    ],
)
def test_an_unsafe_setting_stops_the_start_by_name(environment, name, value, says):
    environment(**{name: value})

    with pytest.raises(UnsafeSettingsError) as stopped:
        load_settings(ProbeSettings)

    [line] = stopped.value.lines
    assert line.startswith(f"{name} ")
    assert says in line


def test_no_secret_is_shown_when_settings_are_refused(environment):
    environment(PROBE_KEKS="a:c2VjcmV0LWtlaw==", PROBE_DATABASE_URL="mysql://probe:hunter2@h/probe")

    with pytest.raises(UnsafeSettingsError) as stopped:
        load_settings(ProbeSettings)

    shown = repr(stopped.value) + str(stopped.value.__context__ and "")
    assert len(stopped.value.lines) == 2
    assert "hunter2" not in shown
    assert "c2VjcmV0" not in shown


def test_no_secret_is_shown_by_the_settings_themselves(environment):
    environment()

    shown = repr(load_settings(ProbeSettings))

    assert "hunter2" not in shown
    assert ENCODED not in shown
    assert repr(KEY) not in shown


def test_versions_of_events_to_write_are_read_from_one_setting(environment):
    environment(PROBE_WRITES="contacts.person.linked:1, contacts.person.unlinked:1")

    writes = load_settings(ProbeSettings).writes

    assert writes == {"contacts.person.linked": 1, "contacts.person.unlinked": 1}


@pytest.mark.parametrize("nothing", [None, ""])
def test_without_it_each_is_written_as_the_release_has_it(environment, nothing):
    environment(PROBE_WRITES=nothing)

    assert load_settings(ProbeSettings).writes == {}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@one:5432,two:5433/db",
        "postgresql://u:p%40:x@[::1]:5432/db",
        "postgresql://u@/db?host=/run/postgresql&port=5433",
    ],
)
def test_a_database_may_have_several_hosts_or_a_socket(environment, url):
    environment(PROBE_DATABASE_URL=url)

    assert load_settings(ProbeSettings).database_url.get_secret_value() == url


@pytest.mark.parametrize(("user", "superuser"), [("postgres", True), ("probe", False)])
def test_the_superuser_is_known(environment, user, superuser):
    environment(PROBE_DATABASE_URL=f"postgresql://{user}@/probe?host=/run/postgresql")

    assert is_superuser_url(load_settings(ProbeSettings)) is superuser
