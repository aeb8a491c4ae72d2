"""pyeventsourcing's notifications, read by pages to the last one when told to begin."""

import json
import sys
from uuid import uuid4  # noqa: TID251  # as its own library makes ids

from store import events_of, recorder_of

BATCH = 500


def main(url, *, functions, events, page):
    with recorder_of(url, functions=functions, connections=1) as recorder:
        for _ in range(0, events, BATCH):
            recorder.insert_events(events_of(uuid4(), BATCH))
        _say("filled")
        seen, first = 0, 1
        while found := recorder.select_notifications(first, page):
            seen, first = seen + len(found), found[-1].id + 1
        kept = recorder.max_notification_id()
        _say(json.dumps({"seen": seen, "last": first - 1, "kept": kept}))


def _say(line):
    """And wait until it was heard: what comes next is timed by who listens."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


if __name__ == "__main__":
    url, mode, events, page = sys.argv[1:]
    main(url, functions=mode == "functions", events=int(events), page=int(page))
