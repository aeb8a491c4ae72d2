"""Add the golden examples that are missing: `python -m crm_events.examples`.

What is there is never written again, for it was released.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from crm_events.codec import SCHEMA_BASE, to_record
from crm_events.contacts import MemberFact, SubjectKeyRecord
from crm_events.envelope import Recorded
from crm_events.examples import KEY_RECORDS, SUBJECT, TEST_KEK, TEST_KEYS
from crm_events.examples.samples import SAMPLES
from crm_events.keys import to_key_record, wrap
from crm_events.sales import DealFact, TaskFact
from crm_events.sealing import seal, unseal
from crm_events.topics import CONTRACT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crm_events.base import Event

FOLDER: Final = Path(__file__).parent
MANIFEST: Final = "RELEASED.sha256"

_OCCURRED_AT: Final = datetime(2025, 9, 25, 11, 33, 20, 123456, tzinfo=UTC)
_RECORDED_AT: Final = datetime(2025, 9, 25, 11, 33, 21, 42, tzinfo=UTC)


def main() -> int:
    for path in add_missing(FOLDER, SAMPLES):
        sys.stdout.write(f"added: {path}\n")
    return 0


def add_missing(folder: Path, samples: Sequence[Event]) -> list[str]:
    """Write the examples that `folder` does not have, and their digests; return their names.

    Everything in them follows from the sample but the nonces.
    """
    added: list[str] = []
    for event in samples:
        name = f"{event.type}/v{event.version}"
        if not (folder / f"{name}.json").exists():
            record, opened = _example(event)
            added += [_add(folder, f"{name}.json", record)]
            added += [_add(folder, f"{name}.opened.json", opened)]
    for state in ("live", "destroyed"):
        name = f"{KEY_RECORDS}/{state}"
        if not (folder / f"{name}.json").exists():
            record, opened = _key_record(state)
            added += [_add(folder, f"{name}.json", record)]
            added += [_add(folder, f"{name}.opened.json", opened)]
    return added


def _add(folder: Path, name: str, content: dict[str, Any]) -> str:
    """Write a file and its digest.

    Raises:
        FileExistsError: it is there; what was released stays.
    """
    raw = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(raw)
    with (folder / MANIFEST).open("a") as manifest:
        manifest.write(f"{hashlib.sha256(raw).hexdigest()}  {name}\n")
    return name


def _stream(event: Event, subject: UUID) -> UUID:
    match event:
        case DealFact():
            return event.deal_id
        case TaskFact():
            return event.task_id
        case _:
            return subject


def _example(event: Event) -> tuple[dict[str, Any], dict[str, Any]]:
    subject = event.member_id if isinstance(event, MemberFact) else UUID(SUBJECT)
    event_id = uuid5(NAMESPACE_URL, f"{SCHEMA_BASE}{event.type}/v{event.version}")
    data = seal(event, event_id=event_id, subject=subject, keys=TEST_KEYS)
    recorded = Recorded(
        event_id=event_id,
        type=event.type,
        schema_version=event.version,
        stream_id=_stream(event, subject),
        stream_version=3,
        partition_key=subject,
        occurred_at=_OCCURRED_AT,
        recorded_at=_RECORDED_AT,
        data=data,
        sequence=41,
        meta={
            "correlationid": str(uuid5(event_id, "correlation")),
            "causationid": str(uuid5(event_id, "cause")),
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        },
    )
    topic = CONTRACT.by_type[event.type]
    key, value, headers = to_record(recorded, publisher=topic.publisher)
    record = {
        "headers": {name: content.decode() for name, content in headers},
        "key": key.decode(),
        "data": json.loads(value),
    }
    return record, unseal(json.loads(value), event_id=event_id, keys=TEST_KEYS)


def _key_record(state: str) -> tuple[dict[str, Any], dict[str, Any]]:
    record = SubjectKeyRecord(key_id=SUBJECT, destroyed=_OCCURRED_AT)
    opened: dict[str, Any] = {"destroyed": _OCCURRED_AT.isoformat()}
    if state == "live":
        material = TEST_KEYS[SUBJECT]
        wrapped = wrap(material, key_id=SUBJECT, kek=TEST_KEK)
        record = SubjectKeyRecord(key_id=SUBJECT, kek_id=TEST_KEK.kek_id, wrapped=wrapped)
        opened = {"key": base64.urlsafe_b64encode(material).decode()}
    key, value = to_key_record(record)
    return {"headers": {}, "key": key.decode(), "data": json.loads(value)}, opened


if __name__ == "__main__":
    sys.exit(main())
