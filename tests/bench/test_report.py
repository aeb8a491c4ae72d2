from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.bench.beside import promise
from tests.bench.judging import contestants
from tests.bench.report import render
from tests.bench.results import Record, Results, load, save
from tests.bench.row import Cost, Latency, Row, Run, at_least, at_most, of_ceiling, promised
from tests.bench.running import all_rows

KEPT = load(Path(__file__).parents[2] / "docs" / "benchmarks.json")
WHERE = {"machine": "two cores", "python": "3.11"}
ROW = Row(
    "append.facts",
    does="facts appended",
    contestants=None,
    bars=(of_ceiling(0.7), at_least(30_000, "events/s")),
    keys="Zipf",
    reference="elsewhere 31k",
    promises={"Log.append": "durable, once", "bare": "the same statement"},
)
WAIT = Row(
    "wait", does="waiting", contestants=None, bars=(at_most(50, "ms", figure="p99_ms"),),
    figure="p99_ms", unit="ms",
)  # fmt: skip


def ran(kind, who, per_second, *, other=0.0, correct=True, latency=None, figures=None):
    cost = Cost(1.0, {"client": 0.2, "postgres": 0.1}, {"client": 80.0}, other)
    settings = {"batch": 100}
    return Run(kind, who, per_second, cost, latency, correct, figures or {}, settings)


def recorded(row, *runs, where=WHERE, at="2026-05-04T12:00+00:00"):
    return Record(row.name, at, "abc1234", where, runs)


def of(*records):
    results = Results({}, {})
    for one in records:
        results = results.having(one)
    return results


def test_the_page_shows_median_spread_ratio_and_what_is_short_by_how_much():
    runs = [ran("kith", "Log.append", n) for n in (23_000, 24_000, 27_000)]
    page = render([ROW], of(recorded(ROW, *runs, ran("ceiling", "bare asyncpg", 30_000))))

    assert "24,000 events/s (23,000 to 27,000)" in page
    assert "at least 70 % of the ceiling: met: 80 % of the ceiling" in page
    assert "- `append.facts`: at least 30,000 events/s; **short by 20 %**: 24,000 events/s" in page
    assert "| durable, once<br>bare asyncpg: the same statement |" in page
    assert "client 8.3, postgres 4.2" in page


def test_a_bar_that_the_ceiling_itself_misses_here_says_so():
    slow = recorded(ROW, ran("kith", "Log.append", 15_000), ran("ceiling", "bare asyncpg", 20_000))
    fast = recorded(ROW, ran("kith", "Log.append", 15_000), ran("ceiling", "bare asyncpg", 40_000))

    assert "15,000 events/s; the ceiling here is 20,000 events/s" in render([ROW], of(slow))
    assert "the ceiling here" not in render([ROW], of(fast))


def test_what_others_reached_where_the_bar_was_set_stands_beside_the_ceiling():
    page = render(
        [ROW], of(recorded(ROW, ran("kith", "Log.append", 2), ran("ceiling", "bare asyncpg", 4)))
    )

    assert "| 4.00 events/s (4.00 to 4.00) | 50 % | elsewhere 31k |" in page


def test_a_wrong_run_and_a_disturbed_one_are_said():
    page = render([ROW], of(recorded(ROW, ran("kith", "Log.append", 1, other=0.4, correct=False))))

    assert "Log.append was **wrong** against the oracle" in page
    assert "**no**, 1 of 1 runs" in page
    assert "1.00 events/s (1.00 to 1.00) !" in page


def test_a_row_that_can_have_no_ceiling_says_why():
    alone = replace(ROW, bars=(), no_ceiling="bytes are weighed")

    page = render([alone], of(recorded(ROW, ran("kith", "Log.append", 40_000))))

    assert "| none: bytes are weighed |" in page


def test_latencies_have_a_table_with_the_generators_lateness():
    told = Latency(100, 10, 20, 61, 90, 1.5)
    page = render([WAIT], of(recorded(WAIT, ran("kith", "over HTTP", 100, latency=told))))

    assert "| `wait` | over HTTP | 10.0 | 20.0 | 61.0 | 90.0 | 1.5 |" in page
    assert "p99 at most 50 ms; **over by 22 %**: 61.0 ms" in page


def test_a_part_of_the_rows_measured_anew_leaves_the_others_with_their_date(tmp_path):
    first = of(
        recorded(ROW, ran("kith", "Log.append", 40_000)),
        recorded(WAIT, ran("kith", "over HTTP", 1, latency=Latency(1, 1, 1, 1, 1, 0))),
    )
    save(first, tmp_path / "kept.json")

    again = load(tmp_path / "kept.json").having(
        recorded(ROW, ran("kith", "Log.append", 50_000), at="2026-06-01T12:00+00:00")
    )

    assert first == load(tmp_path / "kept.json")
    page = render([ROW, WAIT], again)
    assert "50,000 events/s" in page
    assert "2026-06-01" in page
    assert "2026-05-04" in page


def test_peers_stay_with_the_kith_of_their_own_run():
    both = recorded(ROW, ran("kith", "Log.append", 40_000), ran("peer", "pyeventsourcing", 20_000))
    alone = recorded(ROW, ran("kith", "Log.append", 90_000))

    page = render([ROW], of(both, alone))

    assert "90,000 events/s" in page
    assert (
        "| `append.facts` | pyeventsourcing | 20,000 events/s (20,000 to 20,000) | 2.00 times"
        in page
    )


def test_a_row_measured_on_another_machine_says_so():
    elsewhere = recorded(
        ROW, ran("kith", "Log.append", 1), where={**WHERE, "machine": "eight cores"}
    )
    here = recorded(
        WAIT,
        ran("kith", "over HTTP", 1, latency=Latency(1, 1, 1, 1, 1, 0)),
        at="2026-06-01T12:00+00:00",
    )

    page = render([ROW, WAIT], of(elsewhere, here))

    assert "`append.facts` was measured elsewhere: machine eight cores" in page


def test_peers_settings_stand_beside_kiths_also_when_a_later_run_had_none():
    both = recorded(ROW, ran("kith", "Log.append", 40_000), ran("peer", "pyeventsourcing", 20_000))
    alone = recorded(ROW, ran("kith", "Log.append", 90_000))

    page = render([ROW], of(both, alone))

    assert "| `append.facts` | Log.append | events 90,000, batch 100 | 1 |" in page
    assert "| `append.facts` | pyeventsourcing | events 20,000, batch 100 | 1 |" in page


def test_who_was_killed_says_after_how_many_seconds_it_was_back():
    runs = [
        ran("kith", "worker", 30_000),
        ran("kith", "worker, killed", 20_000, figures={"back_s": 1.46}),
        ran("peer", "Quix", 20_000, figures={"back_s": 10.7}),
    ]

    page = render([ROW], of(recorded(ROW, *runs)))

    assert "worker, killed: 20,000 events/s (20,000 to 20,000); back after 1.46 s" in page
    assert "| yes | 10.7 |" in page


def test_a_figure_is_held_against_each_ceiling_by_its_name():
    append = Row("append", does="appends", contestants=None)
    told = [
        ran("kith", "Log", 50),
        ran("ceiling", "alone", 25),
        ran("ceiling", "shared", 100),
    ]

    page = render([append], of(recorded(append, *told)))

    assert "| alone: 200 %<br>shared: 50 % |" in page


def test_the_page_made_of_the_file_is_the_page_that_was_written(tmp_path):
    results = of(recorded(ROW, ran("kith", "Log.append", 9), where={"system": "b", "machine": "a"}))

    save(results, tmp_path / "kept.json")

    assert render([ROW], load(tmp_path / "kept.json")) == render([ROW], results)


def test_who_was_killed_is_held_against_the_kith_that_was_killed():
    whole = Row("whole", does="Kafka to score", contestants=None)
    killed = {"figures": {"back_s": 1.0}}
    told = [
        ran("kith", "worker", 40_000),
        ran("kith", "worker, kill -9", 30_000, **killed),
        ran("peer", "Quix exactly-once", 20_000),
        ran("peer", "Quix exactly-once, kill -9", 10_000, **killed),
    ]

    page = render([whole], of(recorded(whole, *told)))

    shown = [
        row for row in page.splitlines() if row.startswith("| `whole` | Quix") and "times" in row
    ]
    assert ["2.00 times" in shown[0], "3.00 times" in shown[1]] == [True, True]


def test_a_row_that_has_no_peers_any_more_shows_none():
    fold = Row("fold.zipf", does="log to score", contestants=None)

    page = render(
        [fold], of(recorded(fold, ran("kith", "Projector", 9), ran("peer", "Streams", 3)))
    )

    assert "3.00 times" not in page


def test_engines_that_did_not_run_are_named_with_what_they_need():
    whole = Row("whole", does="Kafka to score", contestants=None)
    ran_there = [
        ran("kith", "inbox and projector", 40_000),
        ran("peer", "Quix exactly-once, kill -9 in the middle", 20_000),
        ran("peer", "Bytewax, every state out", 30_000),
    ]

    page = render([whole], of(recorded(whole, *ran_there)))

    assert "- `whole`: Kafka Streams eos, one core; it needs a JDK (`javac`)" in page
    assert "- `whole`: Quix" not in page


def test_a_promise_is_told_by_a_name_or_by_how_it_begins_and_the_longest_counts():
    promises = {"Quix": "once", "Quix at-least-once": "at least once"}

    assert promised(promises, "Quix exactly-once, kill -9 in the middle") == "once"
    assert promised(promises, "Quix at-least-once") == "at least once"
    assert promised(promises, "Bytewax") == ""


@pytest.mark.parametrize(
    "row", [row for row in all_rows() if row.name in KEPT.latest], ids=lambda row: row.name
)
def test_every_contestant_that_was_measured_says_what_it_promises(row):
    silent = [who for _, who in contestants(KEPT.runs(row.name)) if not promise(row, who)]

    assert silent == []
