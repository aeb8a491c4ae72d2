from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from crm_chassis.lifecycle import Supervisor


class Looping:
    """A loop that does what its script says, then runs until it is stopped."""

    def __init__(self, *script: BaseException | None) -> None:
        self.script = list(script)
        self.begun = asyncio.Event()
        self.finished = False

    async def run(self, stop, *, beat):
        beat()
        if self.script and (step := self.script.pop(0)) is not None:
            raise step
        self.begun.set()
        await stop.wait()
        self.finished = True


async def test_a_loop_that_fails_by_an_outage_is_begun_again():
    supervisor, stop = Supervisor(), asyncio.Event()
    loop = Looping(ConnectionRefusedError(), TimeoutError())
    supervisor.add("tail", loop.run)

    running = asyncio.create_task(supervisor.run(stop))
    await asyncio.wait_for(loop.begun.wait(), 30)
    stop.set()

    assert await running
    assert loop.finished
    assert supervisor.failed == ()


async def test_a_loop_that_a_stray_cancellation_ends_is_begun_again():
    supervisor, stop = Supervisor(), asyncio.Event()
    loop = Looping(asyncio.CancelledError())
    supervisor.add("tail", loop.run)

    running = asyncio.create_task(supervisor.run(stop))
    await asyncio.wait_for(loop.begun.wait(), 30)
    stop.set()

    assert await running
    assert supervisor.failed == ()


async def test_a_loop_that_fails_by_a_bug_stops_the_others_in_good_order():
    supervisor, stop = Supervisor(), asyncio.Event()
    healthy = Looping()
    supervisor.add("healthy", healthy.run)
    supervisor.add("broken", Looping(KeyError("bug")).run)

    well = await asyncio.wait_for(supervisor.run(stop), 30)

    assert not well
    assert healthy.finished
    assert supervisor.failed == ("broken",)


async def test_a_loop_that_ends_unasked_is_a_failure():
    async def short(stop, *, beat):
        beat()

    supervisor = Supervisor()
    supervisor.add("short", short)

    well = await asyncio.wait_for(supervisor.run(asyncio.Event()), 30)

    assert not well
    assert supervisor.failed == ("short",)


async def test_a_loop_that_does_not_leave_is_cancelled_in_time():
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def stubborn(stop, *, beat):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    supervisor, stop = Supervisor(shutdown_seconds=0.05), asyncio.Event()
    supervisor.add("stubborn", stubborn)
    running = asyncio.create_task(supervisor.run(stop))
    await begun.wait()

    stop.set()

    assert not await asyncio.wait_for(running, 30)
    assert cancelled.is_set()


async def test_a_loop_without_progress_is_named_and_a_waiting_one_is_not(monkeypatch):
    now, beaten = [0.0], asyncio.Event()
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr("crm_chassis.lifecycle.time", clock)

    async def wedged(stop, *, beat):
        await stop.wait()

    async def waiting(stop, *, beat):
        while not stop.is_set():
            beat()
            beaten.set()
            await asyncio.sleep(0)

    supervisor, stop = Supervisor(stall_seconds=30), asyncio.Event()
    supervisor.add("wedged", wedged)
    supervisor.add("waiting", waiting)
    running = asyncio.create_task(supervisor.run(stop))
    await beaten.wait()
    in_time = supervisor.stalled()
    now[0] += 31
    beaten.clear()
    await beaten.wait()

    assert in_time == ()
    assert supervisor.stalled() == ("wedged",)
    stop.set()
    assert await running


@pytest.mark.parametrize("prepared", [True, False])
async def test_loops_wait_for_what_is_prepared_but_those_that_begin_at_once(prepared):
    release, order = asyncio.Event(), []

    async def prepare(stop, *, beat):
        beat()
        await release.wait()
        order.append("prepared")
        return prepared

    async def fold(stop, *, beat):
        order.append("fold")
        await stop.wait()

    supervisor, stop = Supervisor(prepare=prepare), asyncio.Event()
    http = Looping()
    supervisor.add("http", http.run, at_once=True)
    supervisor.add("fold", fold)
    running = asyncio.create_task(supervisor.run(stop))
    await asyncio.wait_for(http.begun.wait(), 30)
    assert order == []

    release.set()
    if prepared:
        async with asyncio.timeout(30):
            while "fold" not in order:
                await asyncio.sleep(0)
    stop.set()
    await asyncio.wait_for(running, 30)

    assert order == (["prepared", "fold"] if prepared else ["prepared"])
