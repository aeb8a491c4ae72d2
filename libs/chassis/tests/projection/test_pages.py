"""How many rows a page has: as many as can be written in a short transaction, and never too few."""

from __future__ import annotations

from crm_chassis.projection.pages import LONGEST_WRITE_SECONDS, PAGE_ROWS, Pages

BACKLOG = 10_000
LONG, SHORT = 2 * LONGEST_WRITE_SECONDS, LONGEST_WRITE_SECONDS / 2


def test_pages_shrink_while_their_writes_take_long_and_grow_again():
    pages = Pages(pool=None)
    sizes = [pages._rows]

    for seconds in (LONG, LONG, SHORT):
        pages.fit(seconds, pages._rows)
        sizes.append(pages._rows)
    for _ in range(10):
        pages.fit(SHORT, pages._rows)

    assert sizes == [5_000, 2_500, 1_250, 1_562]
    assert pages._rows == PAGE_ROWS


def test_where_every_write_takes_long_a_backlog_is_folded_in_few_pages():
    """A machine under load: smaller pages would not be written faster, there would be more."""
    pages, sizes = Pages(pool=None), []
    pages.fit(LONG, 20)  # it was nearly level

    while sum(sizes) < BACKLOG:
        sizes.append(pages._rows)
        pages.fit(LONG, pages._rows)

    assert len(sizes) <= 20
