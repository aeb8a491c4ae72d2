"""Who runs beside which row, with `PEERS=1`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.bench.peers import appending, reading, scoring, waiting
from tests.bench.peers.engine import SCORING, STREAMS_ONE, WAITING, Engine
from tests.bench.row import Peers

ENGINES: Final[Mapping[str, Sequence[Engine]]] = {
    "fold.kinds.zipf": (STREAMS_ONE,),
    "latency.other": WAITING,
    "whole": SCORING,
}
"""Who is meant to run; where one is missing, the page says so."""
PEERS: Final[Peers] = {
    "append.streams": appending.contestants(threads=(1, 8, 32), batch=1, killed_at=8),
    "append.streams.unique": appending.contestants(threads=(1, 8, 32), batch=1),
    "append.facts": appending.contestants(threads=(1, 8), batch=100, killed_at=8),
    "fold.kinds.zipf": scoring.contestants(ENGINES["fold.kinds.zipf"], killed=False),
    "tail.10": reading.contestants(page=10),
    "tail.100": reading.contestants(page=100),
    "tail.1000": reading.contestants(page=1_000),
    "latency.other": waiting.contestants(ENGINES["latency.other"]),
    "whole": scoring.contestants(ENGINES["whole"], killed=True),
}
