"""What the OpenAPI document of sales says, and when sales is ready to answer."""

from __future__ import annotations

OPEN = {"/livez", "/readyz", "/metrics"}


async def test_every_operation_behind_a_key_names_it_in_openapi(sales):
    document = (await sales.http.get("/openapi.json")).json()

    assert document["paths"].keys() > OPEN
    for path, operations in document["paths"].items():
        for how, operation in operations.items():
            if path in OPEN:
                assert "security" not in operation
                continue
            assert "503" in operation["responses"]
            what = "tasks" if path.startswith("/tasks") else "deals"
            assert operation["x-scope"] == f"{what}:{'read' if how == 'get' else 'write'}"


async def test_an_api_is_not_ready_before_this_release_migrated(sales):
    ready = await sales.http.get("/readyz")
    revision = await sales.pool.fetchval("delete from alembic_version returning version_num")
    try:
        before = await sales.http.get("/readyz")
    finally:
        await sales.pool.execute("insert into alembic_version values ($1)", revision)

    assert (ready.status_code, ready.json()["database"]) == (200, "ready")
    assert (before.status_code, before.json()["database"]) == (503, "not-migrated")
