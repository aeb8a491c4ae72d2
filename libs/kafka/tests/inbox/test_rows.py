"""Records that are read together become the rows that each would alone."""

from __future__ import annotations

import pytest
from aiokafka import TopicPartition
from crm_kafka.inbox.rows import Aside, hear, hear_each, row_of
from wire import record

ONE = TopicPartition("probe.things", 0)


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
    records = [record(ONE, n + 1, **(otherwise if n == at else {})) for n in range(3)]

    rows = [row_of(each) for each in hear_each(records)]

    assert rows == [row_of(hear(each)) for each in records]
    assert [isinstance(row, Aside) for row in rows] == [number == at for number in range(3)]


def test_what_is_written_without_ascii_stays_as_it_is() -> None:
    written = ['{"name":"Zoë"}', '{"name":"李"}', '{"name":"\\u0000"}']

    heard = hear_each([record(ONE, 1, value=each.encode()) for each in written])

    assert [row_of(each).data for each in heard] == written
