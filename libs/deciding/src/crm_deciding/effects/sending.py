"""Sending what was meant: claimed first, then sent, then settled by what came of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from crm_store import metrics, tracing
from crm_store.errors import is_dependency_error
from crm_store.turns import take_turns

from crm_deciding.effects.intent import read

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

    import asyncpg
    from crm_store.clock import Clock
    from crm_store.lease import Lease

    from crm_deciding.effects.intent import Message

LOOK_EVERY_S: Final = 0.5
AT_ONCE: Final = 20
SEND_WITHIN_S: Final = 30.0
CLAIM_LASTS: Final = timedelta(seconds=60)
"""Above the longest sending: a claim that is older is of a process that died."""
MOST_ATTEMPTS: Final = 16
FIRST_RETRY_S: Final = 5.0
LONGEST_RETRY_S: Final = 6 * 3600.0
"""Sixteen attempts, twice as long between each, six hours at most: about a day."""
LONGEST_OUTCOME: Final = 500

# Doubtful: the database was put back to an earlier time since its event was recorded, so nobody
# knows whether it was sent before, and it is of a kind that must not come twice.
CLAIM: Final = """
update intent i set state = 'claimed', claimed_at = $1, claimed_by = $2,
       attempts = attempts + case when withdrawn then 0 else 1 end
where i.intent_id = any(array(
    select intent_id from intent where state = 'waiting' and due_at <= $1
    order by due_at limit $3 for update skip locked))
returning i.intent_id, i.effect, i.channel, i.content::text as content, i.attempts, i.repeats,
          i.due_at, i.traceparent, i.withdrawn,
          not i.repeats and coalesce(i.recorded_at, i.meant_at) < (
              select max(e.settled_at) from log_epoch e where e.recovered) as doubtful
"""
SETTLE: Final = """
update intent set state = $3, outcome = $4, settled_at = $6,
       due_at = case when withdrawn then least($5, now()) else $5 end
where intent_id = $1 and state = 'claimed' and claimed_by = $2
returning intent_id
"""
DIED: Final = """
update intent set state = case when repeats and attempts < $3 then 'waiting' else 'unknown' end,
       outcome = 'the process that was sending it died', due_at = $1,
       settled_at = case when repeats and attempts < $3 then null else $1::timestamptz end
where state = 'claimed' and claimed_at < $2
returning intent_id, effect, state, outcome
"""

_logger = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """It is the receiver's now."""

    told: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """It surely was not taken: again, as usual, but not before so many seconds."""

    told: str
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Never:
    """It is refused for good."""

    told: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been taken: the answer did not come."""

    told: str


@dataclass(frozen=True, slots=True)
class Unneeded:
    """It was withdrawn before it went."""

    told: str = "nobody needs it any more"


Outcome = Sent | Later | Never | Unknown | Unneeded


class Channel(Protocol):
    """One way out. Whatever goes wrong outside is an outcome; our own database may be away."""

    async def send(self, intent_id: UUID, message: Message) -> Outcome: ...


class Sender:
    """Sends what is due while the lease is held."""

    def __init__(
        self,
        *,
        pool: asyncpg.Pool,
        channels: Mapping[str, Channel],
        lease: Lease,
        owner: str,
        clock: Clock,
    ) -> None:
        """`owner` names this process, and no other ever."""
        self._pool = pool
        self._channels = channels
        self._lease = lease
        self._owner = owner
        self._clock = clock

    async def run(self, stop: asyncio.Event, *, beat: Callable[[], None]) -> None:
        """Send until `stop`; finishes what it claimed."""
        await take_turns(
            "effects", self.turn, lease=self._lease, every_s=LOOK_EVERY_S, stop=stop, beat=beat
        )

    async def turn(self, *, beat: Callable[[], None] = lambda: None) -> bool:
        """Send what is due, at most 20 at once; is there more?"""
        now = self._clock()
        for row in await self._pool.fetch(DIED, now, now - CLAIM_LASTS, MOST_ATTEMPTS):
            _tell(row, row["state"], row["outcome"])
        claimed = await self._pool.fetch(CLAIM, now, self._owner, AT_ONCE)
        oldest = min((row["due_at"] for row in claimed), default=now)
        metrics.EFFECTS_AGE_SECONDS.set((now - oldest).total_seconds())
        beat()
        await asyncio.gather(*(self._send(row) for row in claimed))
        return len(claimed) == AT_ONCE

    async def _send(self, row: asyncpg.Record) -> None:
        with tracing.within(row["traceparent"]):
            await self._settle(row, await self._outcome(row))

    async def _outcome(self, row: asyncpg.Record) -> Outcome:
        if row["withdrawn"]:
            return Unneeded()
        if row["doubtful"]:
            return Unknown("the database was restored: it may have been sent before")
        channel = self._channels.get(row["channel"])
        if channel is None:
            return Later(f"no {row['channel']} is set up here")
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                return await channel.send(row["intent_id"], read(row["channel"], row["content"]))
        except TimeoutError:
            return Unknown(f"no answer within {SEND_WITHIN_S:.0f} s")
        except Exception as error:
            if is_dependency_error(error):
                raise
            # A bug that one message meets keeps no other from leaving, and ends no process.
            _logger.exception("effects.broke", effect=row["effect"])
            return Unknown(f"{type(error).__name__} while it was sent")

    async def _settle(self, row: asyncpg.Record, outcome: Outcome) -> None:
        now = self._clock()
        state, told, after_s = _settled(outcome, row["attempts"], repeats=row["repeats"])
        due_at = now if after_s is None else now + timedelta(seconds=after_s)
        settled_at = None if state == "waiting" else now
        settled = await self._pool.fetchval(
            SETTLE, row["intent_id"], self._owner, state, told[:LONGEST_OUTCOME], due_at, settled_at
        )
        if settled is not None:  # else it took longer than a claim lasts: another settles it
            _tell(row, state, told)


def _tell(row: asyncpg.Record, state: str, outcome: str) -> None:
    name = "retried" if state == "waiting" else state
    metrics.EFFECTS.labels(effect=row["effect"], outcome=name).inc()
    if state in {"unknown", "failed"}:
        _logger.error(
            "effects.not_sent", effect=row["effect"], intent_id=str(row["intent_id"]),
            state=state, outcome=outcome,
        )  # fmt: skip


def _settled(outcome: Outcome, attempts: int, *, repeats: bool) -> tuple[str, str, float | None]:
    """State, what is told of it, and after how many seconds again."""
    again = min(FIRST_RETRY_S * 2 ** (attempts - 1), LONGEST_RETRY_S)
    match outcome:
        case Sent(told):
            state, after_s = "sent", None
        case Never(told):
            state, after_s = "failed", None
        case Unneeded(told):
            state, after_s = "withdrawn", None
        case Later(told, at_least_s) if attempts < MOST_ATTEMPTS:
            state, after_s = "waiting", min(max(again, at_least_s or 0.0), LONGEST_RETRY_S)
        case Later(told):
            state, told, after_s = "failed", f"{attempts} attempts: {told}", None
        case Unknown(told) if repeats and attempts < MOST_ATTEMPTS:
            state, after_s = "waiting", again
        case Unknown(told):
            state, after_s = "unknown", None
    return state, told, after_s
