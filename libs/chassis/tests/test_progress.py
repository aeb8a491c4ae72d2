from __future__ import annotations

from crm_chassis.progress import Told
from structlog.testing import capture_logs


def test_how_far_it_is_is_told_every_five_seconds_with_rate_and_time_left():
    now = [100.0]
    told = Told("contacts timeline", monotonic=lambda: now[0])

    with capture_logs() as lines:
        for done in (1_000, 2_000, 3_000, 4_000):
            told(done, 8_000)
            now[0] += 2.5

    assert [(line["rows"], line["percent"]) for line in lines] == [(1_000, 12.5), (3_000, 37.5)]
    assert (lines[0]["rows_per_second"], lines[0]["seconds_left"]) == (0, None)
    assert (lines[1]["rows_per_second"], lines[1]["seconds_left"]) == (400, 12)


def test_an_empty_log_is_told_as_done():
    with capture_logs() as lines:
        Told("contacts timeline", monotonic=lambda: 0.0)(0, 0)

    assert lines[0]["percent"] == 100.0
