"""Sharing: what is asked for while one piece of work is under way is done together next."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class Sharing(Generic[Asked, Answer]):
    """Does work for several callers at once, one piece at a time.

    Who asks alone waits for nobody. A caller that is cancelled takes nothing away from the
    others: what was begun for it is seen through.
    """

    def __init__(
        self, work: Callable[[Sequence[Asked]], Awaitable[Sequence[Answer]]], *, most: int
    ) -> None:
        """`work` answers each in order, for at most `most`; what it raises, each of them gets."""
        self._work = work
        self._most = most
        self._waiting: deque[tuple[Asked, asyncio.Future[Answer]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked) -> Answer:
        """The answer of the work."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        these: list[tuple[Asked, asyncio.Future[Answer]]] = []
        try:
            while self._waiting:
                await asyncio.sleep(0)  # who was just answered may have more to ask
                these = self._next()
                if these:
                    await self._answer(these)
        finally:
            self._running = None
            for _, answer in (*these, *self._waiting):
                answer.cancel()  # nobody will; an answer that was given stays
            self._waiting.clear()

    def _next(self) -> list[tuple[Asked, asyncio.Future[Answer]]]:
        count = min(self._most, len(self._waiting))
        taken = [self._waiting.popleft() for _ in range(count)]
        return [(asked, answer) for asked, answer in taken if not answer.done()]

    async def _answer(self, these: list[tuple[Asked, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._work([asked for asked, _ in these])
        except Exception as error:  # noqa: BLE001  # theirs to handle
            for _, future in these:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(these, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
