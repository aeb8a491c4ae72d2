"""Ending consumers, and telling whether one is still alive: the client does not say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiokafka import AIOKafkaConsumer

CLOSE_WITHIN_S: Final = 5.0
CANCEL_WITHIN_S: Final = 1.0

_logger = structlog.stdlib.get_logger(__name__)


async def close(closing: Coroutine[Any, Any, object]) -> None:
    """Let a client end, within a limit and whatever becomes of it.

    The client cancels tasks of its own and awaits them, and at times their cancellation comes out
    of its `stop()`. Awaited here it would be taken for ours, and end the loop that called.
    """
    task = asyncio.ensure_future(closing)
    await asyncio.wait({task}, timeout=CLOSE_WITHIN_S)
    if not task.done():
        _logger.warning("consumer.not_closed", within_s=CLOSE_WITHIN_S)
        task.cancel()
        await asyncio.wait({task}, timeout=CANCEL_WITHIN_S)
    elif not task.cancelled() and (error := task.exception()) is not None:
        _logger.info("consumer.ended", error=repr(error))


def check_alive(consumer: AIOKafkaConsumer) -> None:
    """Ask whether the tasks that fetch and that keep the metadata are still running.

    Where one has ended polls stay empty for ever and nothing is raised.

    Raises:
        KafkaError: the consumer is to be opened anew.
    """
    fetcher: Any = getattr(consumer, "_fetcher")  # noqa: B009  # no public name, held by a test
    client: Any = getattr(consumer, "_client")  # noqa: B009  # as above
    for name, task in (("fetching", fetcher.error_future), ("metadata", client._sync_task)):  # noqa: SLF001
        if task is None or task.done():
            raise KafkaError(f"the consumer's {name} ended by itself")
