"""Real servers for the tests that ask for them, and no network for the tests that do not.

A test that uses `stack`, `database`, `kafka` or `redis` is marked `connected`; it and those marked
`connected`, `e2e` or `fault` by hand may open sockets. Every other test may not.
"""

import re
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from crm_stack.stack import Stack

_FIXTURES = frozenset({"stack", "database", "kafka", "redis"})
_MARKERS = ("connected", "e2e", "fault")
_NAME_CHARACTERS = 40
_POSTGRES_SETTINGS = {"fsync": "off", "autovacuum": "off"}
"""Tests kill the server, none cuts the power; and who drops a database waits for the disk.

Autovacuum comes by once a minute, at any moment of any test: what it learns of one test's rows
plans the queries of the next.
"""


@pytest.hookimpl(tryfirst=True)  # pytest-socket reads these options in its own pytest_configure
def pytest_configure(config: pytest.Config) -> None:
    config.option.disable_socket = True
    config.option.allow_unix_socket = True  # an event loop wakes itself up through one
    config.addinivalue_line("markers", "connected: needs real PostgreSQL, Kafka or Redis")


def pytest_itemcollected(item: pytest.Item) -> None:
    if _FIXTURES.intersection(getattr(item, "fixturenames", ())):
        item.add_marker("connected")
    if any(item.get_closest_marker(marker) for marker in _MARKERS):
        item.add_marker("enable_socket")


@pytest.fixture(scope="session")
def stack() -> "Iterator[Stack]":
    """PostgreSQL, Kafka and Redis in a temporary folder, one of each for the whole run."""
    # unit tests do not pay for these
    from crm_stack.errors import StackError  # noqa: PLC0415
    from crm_stack.stack import Stack  # noqa: PLC0415

    servers = Stack(postgres_settings=_POSTGRES_SETTINGS)
    try:
        servers.up()
    except StackError as error:
        pytest.fail(str(error), pytrace=False)
    yield servers
    servers.down()


@pytest.fixture
def database(stack: "Stack") -> Iterator[str]:
    """The URL of an empty database, owned by a role that may connect nowhere else."""
    stack.postgres.restore()
    url = stack.fresh_database()
    yield url
    stack.postgres.restore()
    stack.drop_database(url)


@pytest.fixture
def kafka(stack: "Stack") -> Iterator[str]:
    """The bootstrap address of a broker that creates no topic by itself."""
    stack.kafka.restore()
    yield stack.kafka.bootstrap
    stack.kafka.restore()


@pytest.fixture
def redis(stack: "Stack") -> Iterator[str]:
    """The URL of a Redis with nothing in it."""
    stack.redis.restart()
    yield stack.redis.url
    stack.redis.restore()


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """A topic name, or the beginning of several, that no other test has."""
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    return f"{test[:_NAME_CHARACTERS]}.{secrets.token_hex(4)}"
