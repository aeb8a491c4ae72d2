"""pyeventsourcing appends streams that its client can name again: what was answered is told."""

import contextlib
import json
import os
import sys
import threading
import time
from uuid import NAMESPACE_OID, uuid5

from eventsourcing.persistence import IntegrityError
from store import events_of, recorder_of

OUT = 1


def main(url, *, functions, batch, seconds, first):
    """`first`: of each thread, the number of its next call."""
    with recorder_of(url, functions=functions, connections=len(first)) as recorder:
        until = time.monotonic() + seconds
        writers = [
            threading.Thread(target=_append, args=(recorder, me, n, batch, until))
            for me, n in enumerate(first)
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()


def _append(recorder, me, n, batch, until):
    while time.monotonic() < until:
        # It raises where the call had been written and its answer was lost.
        with contextlib.suppress(IntegrityError):
            recorder.insert_events(events_of(uuid5(NAMESPACE_OID, f"{me} {n}"), batch))
        n += 1
        os.write(OUT, f"{me} {n}\n".encode())


if __name__ == "__main__":
    url, mode, batch, seconds, first = sys.argv[1:]
    main(
        url,
        functions=mode == "functions",
        batch=int(batch),
        seconds=float(seconds),
        first=json.loads(first),
    )
