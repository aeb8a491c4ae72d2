from __future__ import annotations

import pytest

from tests.bench.judging import judged, of_ceilings, summaries
from tests.bench.row import Cost, Latency, Row, Run, at_least, at_most, times_peer
from tests.bench.row import of_ceiling as share


def ran(kind, per_second, *, who="", other=0.0, p99=None, figures=None, rss=None):
    cost = Cost(2.0, {"client": 0.5}, rss or {}, other)
    latency = None if p99 is None else Latency(1, 1, 1, p99, p99, 0)
    return Run(kind, who or kind, int(per_second * 2), cost, latency, figures=figures or {})


def row(*bars):
    return Row("some.row", does="something", contestants=None, bars=bars)


def test_a_figure_is_the_median_of_the_quiet_runs():
    runs = [ran("kith", 100), ran("kith", 900, other=0.3), ran("kith", 110), ran("kith", 130)]

    (told,) = summaries(runs, "per_second")

    assert (told.median, told.low, told.high, told.runs) == (110, 100, 130, 3)
    assert not told.disturbed


def test_where_no_run_was_quiet_all_count_and_it_is_said():
    runs = [ran("kith", 100, other=0.2), ran("kith", 300, other=0.3)]

    (told,) = summaries(runs, "per_second")

    assert (told.median, told.disturbed) == (200, True)


def test_a_bar_that_is_missed_says_by_how_much():
    runs = [ran("kith", 75, p99=60)]

    faster, sooner = judged(
        row(at_least(100, "events/s"), at_most(50, "ms", figure="p99_ms")), runs
    )

    assert (faster.reached, faster.met, faster.by) == (75, False, pytest.approx(0.25))
    assert (sooner.reached, sooner.met, sooner.by) == (60, False, pytest.approx(0.20))


def test_a_bar_that_is_reached_exactly_is_met():
    runs = [ran("kith", 100, p99=50)]

    verdicts = judged(row(at_least(100, "events/s"), at_most(50, "ms", figure="p99_ms")), runs)

    assert [one.met for one in verdicts] == [True, True]


def test_a_share_of_the_ceiling_is_of_the_medians_of_the_same_runs():
    runs = [ran("kith", 60), ran("ceiling", 100), ran("kith", 80), ran("ceiling", 100)]

    (verdict,) = judged(row(share(0.7)), runs)

    assert verdict.reached == pytest.approx(0.7)
    assert verdict.met
    assert of_ceilings(row(), runs) == {"ceiling": pytest.approx(0.7)}


def test_a_bar_over_a_peer_that_did_not_run_is_not_judged():
    bar = times_peer(2.5, "pyeventsourcing")

    (without,) = judged(row(bar), [ran("kith", 60)])
    (beside,) = judged(row(bar), [ran("kith", 60), ran("peer", 30, who="pyeventsourcing")])

    assert without.met is None
    assert (beside.reached, beside.met) == (2.0, False)


def test_a_peer_in_several_modes_is_judged_by_its_best_one_and_not_by_one_that_was_killed():
    runs = [
        ran("kith", 60),
        ran("peer", 30, who="pyeventsourcing default"),
        ran("peer", 40, who="pyeventsourcing functions"),
        ran("peer", 90, who="pyeventsourcing functions, kill -9", figures={"back_s": 1.0}),
        ran("peer", 20, who="Quix"),
        ran("peer", 90, who="Quix, kill -9 in the middle"),
    ]

    modes, named = judged(row(times_peer(2.5, "pyeventsourcing"), times_peer(1, "Quix")), runs)

    assert (modes.reached, modes.met) == (1.5, False)
    assert (named.reached, named.met) == (3.0, True)


def test_a_bar_over_a_peer_is_judged_in_the_last_run_that_had_peers_the_others_in_the_last():
    bars = row(at_least(100, "events/s"), times_peer(2, "Quix"))
    beside = [ran("kith", 60), ran("peer", 20, who="Quix")]

    as_such, over_peer = judged(bars, [ran("kith", 120)], beside)

    assert as_such.reached == 120
    assert over_peer.reached == 3.0


def test_bars_judge_the_first_of_kiths_own_contestants():
    runs = [ran("kith", 90, who="one worker"), ran("kith", 200, who="two workers")]

    (verdict,) = judged(row(at_least(100, "events/s")), runs)

    assert verdict.reached == 90


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("per_second", 100),
        ("seconds", 2.0),
        ("p99_ms", 7),
        ("cpu.client", 2_500),
        ("rss_mb.worker", 200),
        ("bytes", 610),
        ("cpu.kafka", None),
        ("nothing", None),
    ],
)
def test_a_run_tells_its_figures_by_name(name, value):
    run = ran("kith", 100, p99=7, figures={"bytes": 610}, rss={"worker": 200})

    assert run.figure(name) == value
