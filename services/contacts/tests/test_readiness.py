"""When contacts is ready to answer."""

from __future__ import annotations


async def test_an_api_is_not_ready_before_this_release_migrated(contacts):
    ready = await contacts.http.get("/readyz")
    revision = await contacts.pool.fetchval("delete from alembic_version returning version_num")
    try:
        before = await contacts.http.get("/readyz")
    finally:
        await contacts.pool.execute("insert into alembic_version values ($1)", revision)

    assert (ready.status_code, ready.json()["database"]) == (200, "ready")
    assert (before.status_code, before.json()["database"]) == (503, "not-migrated")
