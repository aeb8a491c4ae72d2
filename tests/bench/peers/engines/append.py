"""pyeventsourcing's PostgreSQL recorder: events a second at so many threads, so many a call."""

import json
import sys
import threading
import time
from uuid import uuid4  # noqa: TID251  # as its own library makes ids

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

STATE = b"x" * 300
PAGES = (10, 100, 1_000)


def main(url, *, functions, threads, batch, seconds):
    told = conninfo_to_dict(url)
    with PostgresDatastore(
        dbname=told["dbname"],
        host=told["host"],
        port=told["port"],
        user=told["user"],
        password=told["password"],
        pool_size=threads,
        connect_timeout=30,
        enable_db_functions=functions,
    ) as store:
        recorder = PostgresApplicationRecorder(store, events_table_name="stored_events")
        recorder.create_table()
        events, spent = _append(recorder, threads, batch, seconds)
        kept = recorder.max_notification_id()
        pages = {str(page): _read(recorder, page, min(events, 20_000)) for page in PAGES}
        told = {"events": events, "seconds": spent, "kept": kept, "read": pages}
        sys.stdout.write(json.dumps(told) + "\n")


def _append(recorder, threads, batch, seconds):
    counts, gate = [0] * threads, threading.Barrier(threads + 1)
    until = [0.0]

    def write(me):
        gate.wait()
        while time.monotonic() < until[0]:
            stream = uuid4()
            recorder.insert_events([StoredEvent(stream, n, "topic", STATE) for n in range(batch)])
            counts[me] += batch

    writers = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
    for writer in writers:
        writer.start()
    until[0], began = time.monotonic() + seconds, time.monotonic()
    gate.wait()
    for writer in writers:
        writer.join()
    return sum(counts), time.monotonic() - began


def _read(recorder, page, events):
    """Notifications a second, so many a page."""
    began, seen = time.monotonic(), 0
    while seen < events:
        seen += len(recorder.select_notifications(seen + 1, page))
    return seen / (time.monotonic() - began)


if __name__ == "__main__":
    url, functions, threads, batch, seconds = sys.argv[1:]
    main(
        url,
        functions=functions == "functions",
        threads=int(threads),
        batch=int(batch),
        seconds=float(seconds),
    )
