"""Who is one person with whom: links over any number of steps, and the most there may be."""

from __future__ import annotations

from uuid import UUID

import pytest

ROWS = """
insert into person (customer_id, profile, identifiers, linked_into, registered_at, changed_at)
select c, '{}', '[]', i, now(), now() from unnest($1::uuid[], $2::uuid[]) as u(c, i)
"""


def one(number: int) -> UUID:
    return UUID(int=0xC0 << 120 | number)


async def keep(contacts, links):
    """People as the directory has them: each number with the one it is linked into."""
    into = [None if each is None else one(each) for each in links.values()]
    await contacts.pool.execute(ROWS, [one(each) for each in links], into)


async def test_each_of_a_chain_of_40_has_the_same_survivor(contacts):
    await keep(contacts, {n: n + 1 if n < 39 else None for n in range(40)})

    for n in (0, 16, 21, 39):
        file = (await contacts.http.get(f"/customers/{one(n)}")).json()
        assert file["customer_id"] == str(one(39))
        nearest_first = [str(one(each)) for each in range(39, -1, -1)]
        assert [each["customer_id"] for each in file["originals"]] == nearest_first


async def test_links_in_a_circle_have_the_smallest_id_as_survivor(contacts):
    await keep(contacts, {3: 1, 1: 2, 2: 3, 4: 2})

    for n in (1, 2, 3, 4):
        file = (await contacts.http.get(f"/customers/{one(n)}")).json()
        assert [each["customer_id"] for each in file["originals"]] == [
            str(one(each)) for each in (1, 3, 2, 4)
        ]


@pytest.mark.parametrize("path", ["", "/timeline"])
async def test_a_group_too_large_is_refused_and_not_cut_off(contacts, path):
    await keep(contacts, {0: None} | dict.fromkeys(range(1, 10_001), 0))

    answer = await contacts.http.get(f"/customers/{one(5)}{path}")

    assert (answer.status_code, answer.json()["type"]) == (422, "urn:kith:problem:group-too-large")


async def test_a_group_of_the_largest_size_is_shown(contacts):
    await keep(contacts, {0: None} | dict.fromkeys(range(1, 10_000), 0))

    file = (await contacts.http.get(f"/customers/{one(5)}")).json()

    assert file["customer_id"] == str(one(0))
    assert len(file["originals"]) == 10_000
