"""What is meant to leave, as it is written down before anybody sends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, assert_never

import orjson
from crm_store.ids import derived_id
from crm_store.log.entries import Statement
from crm_store.tracing import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from crm_store.log.logged import LoggedEvent

ADD: Final = """
insert into intent (intent_id, effect, event_id, stream_id, partition_key, recorded_at,
                    traceparent, channel, repeats, content)
select u.intent_id, $1, u.event_id, u.stream_id, u.partition_key, u.recorded_at, u.traceparent,
       u.channel, u.repeats, u.content::jsonb
from unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::timestamptz[], $7::text[],
            $8::text[], $9::bool[], $10::text[])
    as u(intent_id, event_id, stream_id, partition_key, recorded_at, traceparent, channel,
         repeats, content)
on conflict do nothing
"""
# What is being sent may come, but not a second time. The sender settles it, at once.
WITHDRAW: Final = """
update intent set withdrawn = true, due_at = least(due_at, now())
where effect = $1 and stream_id = any($2::uuid[]) and (state = 'waiting' or state = 'claimed')
"""


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail to a colleague or customer, whose address is looked up when it is sent.

    So nothing personal lies here: an address that changed is the new one, and who was erased gets
    none. `transactional`: it is sent again where nobody knows whether it went; it comes twice
    rather than not at all. Others are given up then.
    """

    to: str  # an id
    subject: str
    text: str
    transactional: bool = True


@dataclass(frozen=True, slots=True)
class Webhook:
    """One call of an endpoint, by its name in the settings; its id tells repeats from news."""

    endpoint: str
    type: str  # "sales.deal.won"
    data: Mapping[str, Any]  # JSON


Message = Mail | Webhook


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What waits to be sent because of earlier events of the same stream need not go any more."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A message and what it is because of. `intent_id` is the key by which receivers know it."""

    intent_id: UUID
    cause: LoggedEvent[Any]
    message: Message

    @classmethod
    def of(cls, effect: UUID, cause: LoggedEvent[Any], n: int, message: Message) -> Intent:
        """The `n`th that an effect leads to because of an event: the same id however often."""
        return cls(derived_id(effect, str(cause.event_id), str(n)), cause, message)


def channel_of(message: Message) -> tuple[str, bool]:
    """By which channel it goes, and whether it is sent again where its outcome is unknown."""
    match message:
        case Mail():
            return "mail", message.transactional
        case Webhook():
            return "webhook", True
        case _:
            assert_never(message)


def withdrawn(effect: str, streams: Collection[UUID]) -> list[Statement]:
    """What keeps back the messages of an effect about these streams that have not left."""
    return [Statement(WITHDRAW, (effect, list(streams)))] if streams else []


def added(effect: str, intents: Sequence[Intent]) -> list[Statement]:
    """What writes them down; one that is there stays as it is."""
    if not intents:
        return []
    channels = [channel_of(one.message) for one in intents]
    return [
        Statement(
            ADD,
            (
                effect,
                [one.intent_id for one in intents],
                [one.cause.event_id for one in intents],
                [one.cause.stream_id for one in intents],
                [one.cause.partition_key for one in intents],
                [one.cause.recorded_at for one in intents],
                [one.cause.recorded.meta.get(TRACEPARENT) for one in intents],
                [channel for channel, _ in channels],
                [repeats for _, repeats in channels],
                [orjson.dumps(asdict(one.message)).decode() for one in intents],
            ),
        )
    ]


def read(channel: str, content: str) -> Message:
    """The message as it was written down."""
    told: dict[str, Any] = orjson.loads(content)
    return Mail(**told) if channel == "mail" else Webhook(**told)
