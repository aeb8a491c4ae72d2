"""How many rows a page has: as many as can be written in a short transaction, and never too few."""

from __future__ import annotations

import asyncio

from crm_projections.pages import FEWEST_ROWS, LONGEST_WRITE_SECONDS, PAGE_ROWS, Pages
from crm_store.ids import new_id
from crm_store.log.position import START
from summing import sums_model

BACKLOG = 10_000
LONG, SHORT = 2 * LONGEST_WRITE_SECONDS, LONGEST_WRITE_SECONDS / 2


def sizes(pages: Pages, *writes: tuple[str, float]) -> list[int]:
    """Of the pages behind each of these writes of full ones, by model and seconds."""
    found = []
    for model, seconds in writes:
        pages.fit(model, seconds, pages._rows)
        found.append(pages._rows)
    return found


def test_a_page_is_as_large_as_the_slowest_model_writes_in_time():
    pages = Pages(pool=None)

    assert sizes(pages, ("sums", LONG), ("digits", SHORT)) == [2_500, 2_500]
    assert sizes(pages, *[("digits", 4 * LONG)] * 4)[-1] == 2_500, "one of its five was quick"
    assert sizes(pages, *[("digits", 4 * LONG)] * 20)[-1] == FEWEST_ROWS
    assert sizes(pages, ("digits", SHORT / 5), ("sums", SHORT / 5)) == [2_500, PAGE_ROWS]


def test_where_every_write_takes_long_a_backlog_is_folded_in_few_pages():
    """A machine under load: smaller pages would not be written faster, there would be more."""
    pages, found = Pages(pool=None), []
    for _ in range(20):
        pages.fit("sums", LONG, 20)  # it is nearly level

    while sum(found) < BACKLOG:
        found.append(pages._rows)
        pages.fit("sums", LONG, pages._rows)

    assert len(found) <= 4


async def test_a_page_that_was_read_before_pages_grew_is_not_taken_for_the_end_of_the_log(probe):
    """Its models would be told level with the log, and answers be given from them."""
    await probe.count(new_id(), 1, 2, 3, 4, 5)
    models, pages = [sums_model()], Pages(probe.pool)
    pages._rows = 2
    first = await pages.next(START, models)
    await asyncio.sleep(0)  # the next one is being read

    pages._rows = PAGE_ROWS
    second = await pages.next(first.end, models)

    assert (second.rows, await pages.behind(second)) == (2, 1)
