"""What the OpenAPI document of contacts says."""

from __future__ import annotations

OPEN = {"/livez", "/readyz", "/metrics", "/customers/{customer_id}/file.html"}
SCOPES = {"people:read", "people:write", "members:read", "members:write", "collector:read"}


async def test_every_operation_behind_a_key_names_it_in_openapi(contacts):
    document = (await contacts.http.get("/openapi.json")).json()

    assert document["paths"].keys() > OPEN
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path in OPEN:
                assert "security" not in operation
                continue
            assert "503" in operation["responses"]
            if path.startswith("/v1/"):
                assert operation["security"] == [{"write key": []}, {"write key header": []}]
            else:
                assert operation["x-scope"] in SCOPES
