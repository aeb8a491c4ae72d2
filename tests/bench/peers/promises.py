"""What each peer guarantees in the mode that is measured here, by how its name begins.

From their documentation and source, in the versions of the lock: Kafka Streams 4.1.0
(`processing.guarantee`, KIP-892 on what a crash leaves), Quix Streams 3.28.1
(`checkpointing/checkpoint.py`), Bytewax 0.21.1 (`KafkaSink`: "can support at-least-once
processing"), eventsourcing 9.5.6 (`postgres.py`). The broker fsyncs no batch for any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

PROMISES: Final[Mapping[str, str]] = {
    "Kafka Streams eos": (
        "each event once: state's changelog and offsets in one Kafka transaction; no log kept, "
        "the last state of each customer; after a kill the local state is read anew from it"
    ),
    "Quix exactly-once": (
        "each event once: changelog and offsets in one Kafka transaction, the local state written "
        "after it; no log kept, the last state of each customer"
    ),
    "Bytewax, every state out": (
        "each event once in the state: state and offsets in one local snapshot a second, without "
        "a replica; states go out before it, at least once; no log kept"
    ),
    "pyeventsourcing default": (
        "durable, versions checked by a unique key; a table lock in each commit, so that a reader "
        "by number misses none"
    ),
    "pyeventsourcing functions": (
        "durable, versions checked by a unique key; no lock: a number may come to light behind a "
        "higher one, and a reader by number misses it"
    ),
}
