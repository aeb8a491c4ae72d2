"""`make fault`: rounds of faults on real servers, judged; ends with 1 where anything was wrong."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer
from crm_store.clock import utc_now
from rich.console import Console

from demo.running import end_by_sigterm
from tests.fault.catalogue import FAULTS, chosen
from tests.fault.load import PER_SECOND
from tests.fault.rounds import missing_needs, run_rounds, schedule
from tests.fault.verdict import Round, Verdict
from tests.fault.world import World

VERDICTS: Final = Path(".kith/fault")
WIDE: Final = 160
"""Columns where the output is no terminal: a table that is cut tells nothing."""


def main(
    seed: Annotated[int, typer.Option(help="0: a new one.")] = 0,
    rounds: Annotated[int, typer.Option(help="0: each fault once.")] = 0,
    faults: Annotated[str, typer.Option(help='Names, or beginnings: "relay.,postgres.kill".')] = "",
    long_outage: Annotated[float, typer.Option(help="Seconds that stand for ten minutes.")] = 60.0,
    *,
    names: Annotated[bool, typer.Option("--list", help="Name them and end.")] = False,
) -> None:
    """Inject faults, heal them, and hold everything against what was acknowledged."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    if names:
        for fault in FAULTS:
            console.print(f"{fault.name:36} {fault.does}")
        return
    try:
        wanted = chosen(faults)
    except LookupError as unknown:
        raise typer.BadParameter(str(unknown)) from None
    verdict = Verdict(
        seed or secrets.randbelow(1_000_000) + 1,
        {"per_second": PER_SECOND, "long_outage_seconds": long_outage, "faults": faults or "all"},
    )
    runnable = []
    for fault in wanted:
        lacking = missing_needs(fault)
        if lacking is None:
            runnable.append(fault)
        else:
            verdict.skipped[fault.name] = lacking
    order = schedule(runnable, rounds or len(runnable), verdict.seed)
    file = VERDICTS / f"{utc_now():%Y%m%dT%H%M%S}-{verdict.seed}.json"
    console.print(f"seed {verdict.seed}, {len(order)} rounds; verdict in {file}")

    def told(this: Round) -> None:
        verdict.write(file)
        state = "clean" if this.clean else f"NOT CLEAN {this.wrong}"
        level = "-" if this.level_s is None else f"{this.level_s:.1f} s"
        spent = this.healed_s - this.began_s
        console.print(
            f"{this.number:4} {this.fault:36} {spent:5.1f} s, level after {level}, {state}",
            highlight=False,
        )

    async def all_rounds() -> None:
        end_by_sigterm()
        folder = Path(tempfile.mkdtemp(prefix="kith-fault-"))
        async with World.up(folder, seed=verdict.seed, long_outage_seconds=long_outage) as world:
            await run_rounds(world, order, verdict, told)

    asyncio.run(all_rounds())
    verdict.write(file)
    verdict.show(console)
    raise typer.Exit(0 if verdict.clean else 1)


if __name__ == "__main__":
    typer.run(main)
