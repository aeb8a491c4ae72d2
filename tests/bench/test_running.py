from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from tests.bench.bench import Bench
from tests.bench.row import Cost, Row, Run
from tests.bench.running import all_rows, chosen, families, measure, measure_each


def contestant(who, others, kind="kith"):
    shares = iter(others)

    async def run():
        return Run(kind, who, 1, Cost(1.0, {}, {}, next(shares)))

    return run


def opening(*contestants):
    @asynccontextmanager
    async def opened(_bench):
        yield contestants

    return opened


def bench(runs):
    return Bench(None, None, None, runs=runs)


async def test_contestants_take_turns_and_peers_stand_in_the_same_rounds():
    row = Row("a", does="", contestants=opening(contestant("A", [0, 0]), contestant("B", [0, 0])))
    peers = {"a": opening(contestant("P", [0, 0], "peer"))}

    measured = await measure(bench(2), row, peers=peers, said=lambda _: None)

    assert [run.who for run in measured] == ["A", "B", "P", "A", "B", "P"]


async def test_a_disturbed_run_is_made_once_more():
    row = Row(
        "a", does="", contestants=opening(contestant("A", [0.5, 0, 0]), contestant("B", [0, 0]))
    )

    measured = await measure(bench(2), row, peers={}, said=lambda _: None)

    assert [run.who for run in measured] == ["A", "B", "A", "B", "A"]


async def test_a_row_that_breaks_is_told_of_and_leaves_the_others_theirs():
    async def breaks():
        raise RuntimeError("no server")

    rows = [
        Row("bad", does="", contestants=opening(breaks)),
        Row("good", does="", contestants=opening(contestant("A", [0]))),
    ]
    broken = []

    measured = [
        (row.name, [run.who for run in runs])
        async for row, runs in measure_each(
            bench(1),
            rows,
            peers={},
            said=lambda *_: None,
            broke=lambda row, error: broken.append((row.name, str(error))),
        )
    ]

    assert measured == [("good", ["A"])]
    assert broken == [("bad", "no server")]


async def test_a_row_may_ask_for_fewer_runs():
    row = Row("a", does="", contestants=opening(contestant("A", [0])), runs=1)

    assert len(await measure(bench(3), row, peers={}, said=lambda _: None)) == 1


def test_a_name_chooses_its_row_and_all_that_begin_so():
    rows = [
        Row(name, does="", contestants=opening()) for name in ("fold.zipf", "fold.unique", "folder")
    ]

    assert [row.name for row in chosen(rows, ["fold"])] == ["fold.zipf", "fold.unique"]
    assert [row.name for row in chosen(rows, ["fold.unique"])] == ["fold.unique"]
    assert list(chosen(rows, [])) == rows
    with pytest.raises(LookupError, match="no row is called foul"):
        chosen(rows, ["foul"])


def test_rows_that_begin_alike_are_measured_in_one_process():
    named = [Row(name, does="", contestants=opening()) for name in ("a.x", "b", "a.y", "ab")]

    assert [[row.name for row in family] for family in families(named)] == [
        ["a.x", "a.y"],
        ["b"],
        ["ab"],
    ]


def test_every_row_has_a_name_of_its_own_and_says_what_it_does():
    rows = all_rows()

    assert len({row.name for row in rows}) == len(rows)
    assert all(row.does for row in rows)
