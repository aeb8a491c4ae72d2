"""Idempotent producers: started within a limit, waited for with signs of life, given up at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, ProducerClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

BATCH_BYTES: Final = 1_000_000
"""Of one batch; below a topic's `max.message.bytes`, which counts batches."""
REQUEST_TIMEOUT_MS: Final = 10_000
START_WITHIN_S: Final = 10.0
SEND_WITHIN_S: Final = 30.0
"""An idempotent batch never expires: this is when a new producer is built instead."""
END_WITHIN_S: Final = 1.0
"""Of each step in giving a producer up."""
BEAT_EVERY_S: Final = 0.5

_logger = structlog.stdlib.get_logger(__name__)


async def start_producer(
    bootstrap: str, *, client_id: str, beat: Callable[[], None]
) -> AIOKafkaProducer:
    """A producer whose records are in Kafka once each, in order, on every in-sync replica.

    Raises:
        KafkaError: no broker answered within the limit.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        client_id=client_id,
        enable_idempotence=True,
        acks="all",
        compression_type=None,
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        max_request_size=BATCH_BYTES,
        request_timeout_ms=REQUEST_TIMEOUT_MS,
        retry_backoff_ms=100,
        metadata_max_age_ms=60_000,
    )
    try:
        await while_beating(producer.start(), START_WITHIN_S, beat)
    except BaseException:
        await abandon(producer)
        raise
    return producer


async def while_beating(
    work: Coroutine[Any, Any, T], within_s: float, beat: Callable[[], None]
) -> T:
    """The result of `work`, which is cancelled when it, or `beat`, takes the wait to its end.

    Raises:
        KafkaTimeoutError: there was none in time.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    try:
        while not task.done() and loop.time() < until:
            await asyncio.wait({task}, timeout=BEAT_EVERY_S)
            beat()
        if not task.done():
            raise KafkaTimeoutError(f"no answer from Kafka within {within_s} s")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=END_WITHIN_S)


async def abandon(producer: AIOKafkaProducer) -> None:
    """End a producer without waiting for what it could not send: whoever sent has it still.

    `stop()` alone waits for unsent batches, and an idempotent one never expires: for ever,
    without a broker. No public call gives up, hence the two private names.
    """
    sender = producer._sender.sender_task  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    closing = asyncio.ensure_future(producer.client.close())
    await asyncio.wait({closing}, timeout=END_WITHIN_S)
    if sender is not None:
        for _ in range(2):  # once cancelled it waits for what is in flight, until the second time
            sender.cancel()
            await asyncio.wait({sender}, timeout=END_WITHIN_S)
        if sender.done() and not sender.cancelled() and (error := sender.exception()):
            _logger.info("producer.ended", error=type(error).__name__)
        unsent = producer._message_accumulator  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        unsent.fail_all(ProducerClosed())
    await asyncio.wait({asyncio.ensure_future(producer.stop())}, timeout=END_WITHIN_S)
