"""PostgreSQL and Kafka for the benchmarks: durable as in production, with room to work in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from crm_stack.server import Server
from crm_stack.stack import Stack

MEMORY_MB = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
POSTGRES_SETTINGS = {
    "shared_buffers": f"{MEMORY_MB // 4}MB",  # as PostgreSQL's manual advises for a server
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
}
KAFKA_OPTIONS = ("-Xms1g", "-Xmx1g", "-XX:MaxDirectMemorySize=512m", "-XX:TieredStopAtLevel=4")
"""As the stack's own, but a heap of 1 GiB and the optimising compiler: it runs for long here."""


@contextmanager
def servers() -> Iterator[Stack]:
    """Both, in a temporary folder that goes with them."""
    with Stack(postgres_settings=POSTGRES_SETTINGS, kafka_options=KAFKA_OPTIONS) as stack:
        yield stack


def server_pids(stack: Stack) -> dict[str, int]:
    """Roots of the trees whose CPU is theirs; a given server of another machine has none."""
    own = {"postgres": stack.postgres, "kafka": stack.kafka}
    return {
        part: server.process.pid
        for part, server in own.items()
        if isinstance(server, Server) and server.process is not None
    }
