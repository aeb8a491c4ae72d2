from __future__ import annotations

import aiokafka.errors as kafka
import asyncpg
import pytest
from crm_store.errors import (
    LONGEST_WAIT_S,
    NewEpochError,
    backoff,
    is_dependency_error,
    sqlstate,
)
from sqlalchemy.exc import DBAPIError


def server_error(state: str) -> asyncpg.PostgresError:
    """As the driver makes it from what a server sends, of a class it may not know."""
    return asyncpg.PostgresError.new({"C": state, "M": "said", "S": "ERROR", "V": "ERROR"})


@pytest.mark.parametrize(
    "error",
    [
        *map(
            server_error, ["08006", "53300", "57P01", "57014", "55P03", "25006", "40001", "40P01"]
        ),
        *map(server_error, ["25P03", "25P04"]),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
        ConnectionRefusedError(),
        TimeoutError(),
        NewEpochError("the log began an epoch"),
        RuntimeError("unable to perform operation on <TCPTransport>; the handler is closed"),
        kafka.KafkaConnectionError("no broker"),
        kafka.KafkaTimeoutError(),
        kafka.NotLeaderForPartitionError(),
        ExceptionGroup("both", [TimeoutError(), ConnectionResetError()]),
    ],
    ids=repr,
)
def test_an_outage_is_waited_for(error):
    assert is_dependency_error(error)


@pytest.mark.parametrize(
    "error",
    [
        *map(
            server_error, ["22003", "22P02", "23505", "42P01", "54000", "KV001", "KM001", "XX000"]
        ),
        asyncpg.ClientConfigurationError("bad dsn"),
        asyncpg.InterfaceError("the server expects 2 arguments for this query, 1 was passed"),
        kafka.MessageSizeTooLargeError(),
        kafka.TopicAuthorizationFailedError(),
        ExceptionGroup("one is a bug", [TimeoutError(), KeyError("x")]),
        ValueError("no"),
        RuntimeError("no"),
    ],
    ids=repr,
)
def test_bad_data_and_bugs_are_not_waited_for(error):
    assert not is_dependency_error(error)


def test_a_state_of_our_own_is_read_from_an_error_that_the_driver_does_not_know():
    error = server_error("KV001")

    assert type(error) is asyncpg.exceptions.UnknownPostgresError
    assert sqlstate(error) == "KV001"


def test_a_state_is_read_through_sqlalchemy():
    wrapped = DBAPIError("select 1", (), Exception("adapted"))
    wrapped.__cause__ = server_error("40001")

    assert sqlstate(wrapped) == "40001"
    assert is_dependency_error(wrapped)


def test_an_error_that_an_outage_led_to_is_none_itself():
    error = KeyError("x")
    error.__cause__ = TimeoutError()

    assert not is_dependency_error(error)


def test_waits_grow_and_stay_bounded():
    first, late = backoff(0), [backoff(attempt) for attempt in range(5, 2_000, 97)]

    assert 0.02 < first <= 0.05
    assert all(LONGEST_WAIT_S / 2 <= wait <= LONGEST_WAIT_S for wait in late)
