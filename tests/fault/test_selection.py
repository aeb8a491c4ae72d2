"""A selection of the rounds of `make fault`, with a fixed seed: about three minutes."""

from __future__ import annotations

import logging

import pytest
from rich.console import Console

from tests.fault.catalogue import chosen
from tests.fault.rounds import run_rounds
from tests.fault.verdict import Verdict
from tests.fault.world import World

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.fault,
    pytest.mark.xdist_group("fault"),
    pytest.mark.timeout(900),
]

SEED = 20_261_126
SELECTION = (
    "collector.kill.committed,relay.kill.sent-not-moved,inbox.kill.written,"
    "projection.freeze.committed,groups.two-relays,brokers.kill.2,postgres.kill,"
    "network.produce-answer,topics.record-missing"
)


async def test_lost_0_doubled_0_order_kept_under_a_selection_of_faults(tmp_path):
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    faults = chosen(SELECTION)
    verdict = Verdict(SEED, {"faults": SELECTION})

    async with World.up(tmp_path, seed=SEED, long_outage_seconds=20) as world:
        await run_rounds(world, faults, verdict, lambda _: None)

    verdict.show(Console(width=160))
    assert [each.fault for each in verdict.rounds] == [fault.name for fault in faults]
    assert verdict.accepted > 1_000 * len(faults) // 2
    wrong = [(each.fault, each.broken, each.counts) for each in verdict.rounds if not each.clean]
    assert not wrong
