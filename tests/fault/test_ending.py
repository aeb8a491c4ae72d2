"""A run that is told to end ends what it started, however often it is told."""

from __future__ import annotations

import signal
import subprocess
import sys

RUN = """
import asyncio
from demo.running import end_by_sigterm

async def run():
    end_by_sigterm()
    try:
        print("runs", flush=True)
        await asyncio.sleep(60)
    finally:
        print("ends", flush=True)
        await asyncio.sleep(0.5)
        print("ended", flush=True)

asyncio.run(run())
"""


def test_a_second_sigterm_does_not_cut_the_end_off():
    with subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        for word in ("runs", "ends"):
            assert run.stdout.readline().strip() == word
            run.send_signal(signal.SIGTERM)

        assert run.stdout.readline().strip() == "ended"
