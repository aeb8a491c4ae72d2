"""What was refused to the service itself: an outcome, for whoever asks why nothing happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from crm_store.log.entries import Statement
from crm_store.logs import safe_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from crm_deciding.refusal import Refusal

ERASED: Final = "subject-erased"
"""A refusal: nothing is decided any more about somebody who is forgotten."""
NOTE: Final = """
insert into refused_command (by, event_id, refusal, detail)
select $1, * from unnest($2::uuid[], $3::text[], $4::text[])
"""


class Refused(NamedTuple):
    """`event_id`: what the command followed from; of a timer, its stream."""

    event_id: UUID
    refusal: str  # by its name, "deal-not-open"
    detail: str

    @classmethod
    def of(cls, event_id: UUID, refusal: Refusal) -> Refused:
        return cls(event_id, refusal.name, safe_text(refusal) or refusal.detail)


def noted(by: str, refused: Sequence[Refused]) -> list[Statement]:
    """What keeps them; `by` is the reaction or the kind of stream whose timer it was."""
    if not refused:
        return []
    columns = (list(column) for column in zip(*refused, strict=True))
    return [Statement(NOTE, (by, *columns))]
