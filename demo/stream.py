"""Sending the history in with the public Segment SDK, as any site would."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from segment.analytics.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from demo.purchases import Purchase

QUEUE_MOST: Final = 2_000
FULL_WAIT_SECONDS: Final = 0.02
FLUSH_SECONDS: Final = 120.0
BATCH: Final = 100

EVENT: Final = "Order Completed"
CURRENCY: Final = "USD"


class NotDeliveredError(Exception):
    """The SDK gave a message up."""


@dataclass
class Sender:
    """The SDK, unchanged, and what it reports."""

    client: Client
    failed: list[str] = field(default_factory=list[str])

    @classmethod
    def to(cls, collector: str, write_key: str) -> Sender:
        """Send to the collector at this base URL under this write key."""
        logging.getLogger("segment").setLevel(logging.CRITICAL)  # its flag and on_error tell us
        sender = cls(
            Client(
                write_key,
                host=collector,
                max_queue_size=QUEUE_MOST,
                upload_size=BATCH,
                upload_interval=0.2,
                gzip=True,
                on_error=lambda error, items: sender.failed.append(f"{len(items)} lost: {error}"),
            )
        )
        return sender

    def send(self, purchases: Iterable[Purchase], *, sent: Callable[[], None]) -> None:
        """Queue every purchase; waits where the queue is full, for the SDK drops what it refuses.

        Raises:
            NotDeliveredError: the SDK gave messages up, or did not finish within 120 s.
        """
        for purchase in purchases:
            while not self._queued(purchase):
                time.sleep(FULL_WAIT_SECONDS)  # noqa: TID251  # a thread of its own, like any site's
                self._check()
            sent()
        deadline = time.monotonic() + FLUSH_SECONDS
        while self.client.queue.unfinished_tasks:
            self._check()
            if time.monotonic() > deadline:
                raise NotDeliveredError(f"not delivered within {FLUSH_SECONDS:.0f} s")
            time.sleep(FULL_WAIT_SECONDS)  # noqa: TID251  # as above
        self._check()
        self.client.shutdown()

    def _queued(self, purchase: Purchase) -> bool:
        accepted, _ = self.client.track(
            user_id=purchase.customer,
            event=EVENT,
            timestamp=purchase.at,
            properties={
                "order_id": purchase.order_id,
                "total": str(purchase.total),
                "currency": CURRENCY,
                "products": [{"product_id": "cd", "name": "CD", "quantity": purchase.discs}],
            },
        )
        return bool(accepted)

    def _check(self) -> None:
        if self.failed:
            raise NotDeliveredError(self.failed[0])
