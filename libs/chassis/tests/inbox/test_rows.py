"""Records of a partition become rows together as each would alone."""

from __future__ import annotations

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from crm_chassis.inbox.rows import Aside, hear_each, row_of, rows_of
from wire import message

ONE = TopicPartition("probe.things", 0)


def record(number: int, **changes: bytes | None) -> ConsumerRecord[bytes, bytes]:
    key, value, headers = message(0, number, **{k: v for k, v in changes.items() if k != "value"})
    return ConsumerRecord(
        ONE.topic, ONE.partition, number - 1, 1_700_000, 0,
        key, changes.get("value", value), None, 0, 0, tuple(headers),
    )  # fmt: skip


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize(
    "otherwise",
    [
        {"value": None},
        {"value": b""},
        {"value": b"{\0}"},
        {"value": b'{"cut": "\xc3'},
        {"value": b"\xff{}"},
        {"value": b"{}\x1e{}"},
        {"value": b"\x1e"},
        {"ce_time": b"yesterday"},
    ],
)
def test_one_among_others_that_cannot_be_held_is_kept_aside_alone(otherwise, at: int) -> None:
    records = [record(number + 1, **(otherwise if number == at else {})) for number in range(3)]

    rows = rows_of(ONE, hear_each(records))

    assert rows == [row_of(each) for each in hear_each(records)]
    assert [isinstance(row, Aside) for row in rows] == [number == at for number in range(3)]


def test_what_is_written_without_ascii_stays_as_it_is() -> None:
    written = ['{"name":"Zoë"}', '{"name":"李"}', '{"name":"\\u0000"}']

    rows = rows_of(ONE, hear_each([record(1, value=each.encode()) for each in written]))

    assert [row.data for row in rows] == written
