"""pyeventsourcing's PostgreSQL recorder: events a second at so many threads, so many a call."""

import json
import sys
import threading
import time
from uuid import uuid4  # noqa: TID251  # as its own library makes ids

from store import events_of, recorder_of


def main(url, *, functions, threads, batch, seconds):
    with recorder_of(url, functions=functions, connections=threads) as recorder:
        events, spent = _append(recorder, threads, batch, seconds)
        told = {"events": events, "seconds": spent, "kept": recorder.max_notification_id()}
        sys.stdout.write(json.dumps(told) + "\n")


def _append(recorder, threads, batch, seconds):
    counts, gate = [0] * threads, threading.Barrier(threads + 1)
    until = [0.0]

    def write(me):
        gate.wait()
        while time.monotonic() < until[0]:
            recorder.insert_events(events_of(uuid4(), batch))
            counts[me] += batch

    writers = [threading.Thread(target=write, args=(n,)) for n in range(threads)]
    for writer in writers:
        writer.start()
    until[0], began = time.monotonic() + seconds, time.monotonic()
    gate.wait()
    for writer in writers:
        writer.join()
    return sum(counts), time.monotonic() - began


if __name__ == "__main__":
    url, mode, threads, batch, seconds = sys.argv[1:]
    main(
        url,
        functions=mode == "functions",
        threads=int(threads),
        batch=int(batch),
        seconds=float(seconds),
    )
