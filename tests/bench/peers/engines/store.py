"""pyeventsourcing's recorder on PostgreSQL, in one of its two modes."""

from contextlib import contextmanager

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

STATE = b"x" * 300


@contextmanager
def recorder_of(url, *, functions, connections):
    told = conninfo_to_dict(url)
    with PostgresDatastore(
        dbname=told["dbname"],
        host=told["host"],
        port=told["port"],
        user=told["user"],
        password=told["password"],
        pool_size=connections,
        connect_timeout=30,
        enable_db_functions=functions,
    ) as store:
        recorder = PostgresApplicationRecorder(store, events_table_name="stored_events")
        recorder.create_table()
        yield recorder


def events_of(stream, count):
    return [StoredEvent(stream, n, "topic", STATE) for n in range(count)]
