"""What an operator sees of the inbox: metrics, alerts, and group offsets for lag tools."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog
from aiokafka.errors import KafkaError
from crm_store import metrics

from crm_kafka.inbox.reading import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaConsumer, TopicPartition

    from crm_kafka.inbox.admission import Mark
    from crm_kafka.inbox.reading import Reading, Step

ALERT_AFTER_S: Final = 60.0
COMMIT_EVERY_S: Final = 5.0
COMMIT_LIMIT_S: Final = 3.0

_logger = structlog.stdlib.get_logger(__name__)


def report(tp: TopicPartition, reading: Reading, step: Step) -> None:
    """Count what became of polled records."""
    admission = step.admission
    if admission is not None:
        for outcome, count in (
            ("taken", len(admission.taken)),
            ("duplicate", admission.duplicates),
            ("held", admission.held),
            ("unreadable", admission.unreadable),
        ):
            if count:
                metrics.INBOX_RECORDS.labels(topic=tp.topic, outcome=outcome).inc(count)
        if admission.diverged:
            _logger.error(
                "inbox.diverged", topic=tp.topic, partition=tp.partition,
                sequence=admission.mark.sequence, event_id=str(admission.mark.event_id),
            )  # fmt: skip
    stopped, holding = reading.phase is Phase.STOPPED, reading.holding is not None
    metrics.INBOX_STOPPED.labels(topic=tp.topic, partition=str(tp.partition)).set(int(stopped))
    metrics.INBOX_HOLDING.labels(topic=tp.topic, partition=str(tp.partition)).set(int(holding))


def silence(tp: TopicPartition) -> None:
    """Another member reports this partition from now on."""
    for gauge in (
        metrics.INBOX_STOPPED,
        metrics.INBOX_HOLDING,
        metrics.INBOX_BEHIND_RECORDS,
        metrics.INBOX_AGE_SECONDS,
    ):
        gauge.labels(topic=tp.topic, partition=str(tp.partition)).set(0)


def alert(readings: Mapping[TopicPartition, Reading], *, now: float) -> None:
    """Say once of each partition that has been holding for 60 s what it waits for."""
    for tp, reading in readings.items():
        holding = reading.holding
        if holding is None or holding.reported or now - holding.since < ALERT_AFTER_S:
            continue
        _logger.error(
            "inbox.holding", topic=tp.topic, partition=tp.partition,
            first_missing=holding.missing, seconds=round(now - holding.since),
        )  # fmt: skip
        reading.holding = replace(holding, reported=True)


def measure(
    consumer: AIOKafkaConsumer,
    readings: Mapping[TopicPartition, Reading],
    recorded: Mapping[TopicPartition, str],
    *,
    now: datetime,
) -> None:
    """Export how many records are not taken yet, and how old the last one is that was.

    `recorded`: when its publisher recorded it, of the partitions of which this process took any.
    """
    for tp, reading in readings.items():
        end = consumer.highwater(tp) if tp in consumer.assignment() else None
        if end is None:
            continue
        behind = max(end - reading.mark.offset - 1, 0)
        label = {"topic": tp.topic, "partition": str(tp.partition)}
        metrics.INBOX_BEHIND_RECORDS.labels(**label).set(behind)
        if not behind:
            metrics.INBOX_AGE_SECONDS.labels(**label).set(0)
        elif tp in recorded:
            with suppress(ValueError):  # a date that no calendar has: it was set aside
                age = (now - datetime.fromisoformat(recorded[tp])).total_seconds()
                metrics.INBOX_AGE_SECONDS.labels(**label).set(max(age, 0.0))


class Courtesy:
    """Commits group offsets for lag tools; nothing here reads them."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._committed: dict[TopicPartition, int] = {}
        self._at = float("-inf")
        self._under_way: asyncio.Task[None] | None = None

    def offer(self, written: Mapping[TopicPartition, Mark], *, now: float) -> None:
        """Begin a commit when one is due, beside the loop."""
        if now - self._at < COMMIT_EVERY_S or (self._under_way and not self._under_way.done()):
            return
        self._at = now
        self._under_way = asyncio.create_task(self.commit(written))

    async def commit(self, written: Mapping[TopicPartition, Mark]) -> None:
        """Commit what changed, within 3 s; a failure is counted and no more."""
        offsets = {tp: mark.offset + 1 for tp, mark in written.items()}
        new = {tp: offset for tp, offset in offsets.items() if self._committed.get(tp) != offset}
        if not new:
            return
        try:
            async with asyncio.timeout(COMMIT_LIMIT_S):
                await self._consumer.commit(new)
        except (KafkaError, TimeoutError):
            metrics.INBOX_FAILED_COMMITS.inc()
        else:
            self._committed.update(new)

    async def close(self) -> None:
        if self._under_way is not None:
            await asyncio.wait({self._under_way}, timeout=COMMIT_LIMIT_S)
