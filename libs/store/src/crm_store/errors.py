"""Which errors mean that something we depend on is away, and how long to wait for it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

import asyncpg
from aiokafka import errors as kafka

if TYPE_CHECKING:
    from collections.abc import Container

WAITED_CLASSES: Final = ("08", "53", "57")
"""SQLSTATE classes: connection lost, out of resources, shut down or cancelled by an operator."""

WAITED_STATES: Final = frozenset(
    {
        "55P03",  # a lock was not granted in time
        "25006",  # read-only: this server was demoted
        "25P03",  # we were idle in a transaction for too long, the server ended the session
        "25P04",  # the transaction took too long, the server ended the session
        "40001",  # lost against a concurrent transaction
        "40P01",  # chosen as the victim of a deadlock
        "KS001",  # the log is not settled: see `LogNotSettledError`
    }
)

NOT_SETTLED: Final = "KS001"
"""Our own: nothing may be written until the relay has compared the log with Kafka."""
OTHER_EPOCH: Final = "KE001"
"""Our own: the log began an epoch since the caller last looked."""
LOST: Final = "KM001"
"""Our own: a compare-and-set found another value."""

HANDLER_CLOSED: Final = "the handler is closed"
"""What uvloop raises for writing to a connection that was reset meanwhile."""

FIRST_WAIT_S: Final = 0.05
LONGEST_WAIT_S: Final = 1.0
DOUBLINGS: Final = 10


class LogNotSettledError(Exception):
    """The database may have been restored: nothing is appended until that is clear.

    It waits for the relay to compare the log with Kafka, or for somebody to run `recover`.
    """


class NewEpochError(Exception):
    """The log began an epoch: what was decided may stand on rows that are gone. Decide anew."""


_KAFKA_AWAY: Final = (
    kafka.KafkaConnectionError,
    kafka.KafkaTimeoutError,
    kafka.BrokerNotAvailableError,
    kafka.ReplicaNotAvailableError,
)


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE a server answered with, also of a code of our own and through SQLAlchemy."""
    match _innermost(error):
        case asyncpg.PostgresError(sqlstate=str(state)):
            return state
        case _:
            return None


def is_dependency_error(error: BaseException) -> bool:
    """Is this an outage to wait for, rather than bad data or a bug?

    A group of errors is an outage if each of them is.
    """
    match _innermost(error):
        case BaseExceptionGroup() as group:
            return all(is_dependency_error(each) for each in group.exceptions)
        case asyncpg.PostgresError(sqlstate=str(state)):
            return state in WAITED_STATES or state[:2] in WAITED_CLASSES
        case asyncpg.InterfaceError() as misuse:
            # The woken owner of an ended session gets one; wrong arguments are one as well.
            return not isinstance(misuse, ValueError) and "the server expects" not in str(misuse)
        case kafka.KafkaError() as refused:
            return bool(refused.retriable) or isinstance(refused, _KAFKA_AWAY)
        case asyncpg.InternalClientError() | OSError() | LogNotSettledError() | NewEpochError():
            return True  # TimeoutError and ConnectionError are OSErrors
        case other:
            return isinstance(other, RuntimeError) and HANDLER_CLOSED in str(other)


def is_refused_value(error: BaseException, classes: Container[str]) -> bool:
    """Is it a value that PostgreSQL refuses, by these SQLSTATE classes, or that its driver does?"""
    state = sqlstate(error)
    if state is None:
        return isinstance(error, ValueError)  # the driver could not encode an argument
    return state[:2] in classes


def backoff(attempt: int) -> float:
    """Seconds to wait before attempt `attempt + 1`; 0 is the first that failed.

    Half of it is random, so that those who failed together do not come back together.
    """
    longest = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(max(attempt, 0), DOUBLINGS))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret is made of it


def _innermost(error: BaseException) -> BaseException:
    """The driver's error inside SQLAlchemy's; any other is itself."""
    while type(error).__module__.startswith("sqlalchemy.") and error.__cause__ is not None:
        error = error.__cause__
    return error
