from typing import Annotated

import pytest
from asking import app_of, client_of
from crm_chassis.apikeys import (
    ApiKeys,
    BadKeyNameError,
    Caller,
    keep_key,
    list_keys,
    new_api_key,
    new_write_key,
    revoke_key,
)
from crm_chassis.http.access import UnscopedRouteError, public, requires
from fastapi import APIRouter, Depends

router = APIRouter(prefix="/things")


@router.get("")
async def things(caller: Annotated[Caller, Depends(requires("things:read"))]) -> str:
    return caller.name


@router.delete("", dependencies=[Depends(requires("things:write"))])
async def clear() -> None: ...


class Hours:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def client(pool):
    async with client_of(app_of(pool, router)) as opened:
        yield opened


def bearing(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_a_key_with_the_scope_lets_its_caller_in_by_name(client, key):
    answer = await client.get("/things", headers=bearing(key))

    assert (answer.status_code, answer.json()) == (200, "reader")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic a2l0aDpraXRo"},
        bearing("kith_aaaaaaaa_" + "A" * 43),
        bearing("kith"),
        bearing("x" * 10_000),
        bearing("kith_aaaaaaaa_' or 1=1"),
    ],
    ids=lambda headers: repr(headers)[:60],
)
async def test_no_live_key_is_401(client, key, headers):
    answer = await client.get("/things", headers=headers)

    assert answer.status_code == 401
    assert answer.json()["type"] == "urn:kith:problem:unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_without_the_scope_is_403_naming_it(client, key):
    answer = await client.delete("/things", headers=bearing(key))

    assert answer.status_code == 403
    assert "things:write" in answer.json()["detail"]


async def test_a_key_is_kept_as_a_hash_only(pool, key):
    kept = await pool.fetchrow("select api_key::text as row from api_key")

    secret = key.split("_", 2)[2]  # it may have one of its own
    assert secret not in kept["row"]
    assert key.split("_")[1] in kept["row"]


async def test_a_name_keeps_its_old_key_while_the_new_one_is_handed_out(pool, key):
    renewed = new_api_key()
    await keep_key(pool, renewed, name="reader", scopes=["things:read"])
    keys = ApiKeys(pool)

    assert await keys.find(key) == await keys.find(renewed)

    assert await revoke_key(pool, key.split("_")[1]) == 1
    assert await ApiKeys(pool).find(key) is None
    assert await ApiKeys(pool).find(renewed) == Caller("reader", frozenset({"things:read"}))


async def test_a_revoked_key_gets_in_for_ten_seconds_more_at_most(pool, key):
    hours = Hours()
    keys = ApiKeys(pool, monotonic=hours)
    assert await keys.find(key)
    await revoke_key(pool, key.split("_")[1])

    hours.seconds = 9.9
    still = await keys.find(key)
    hours.seconds = 10.1
    after = await keys.find(key)

    assert still is not None
    assert after is None


async def test_what_is_remembered_of_callers_is_bounded(pool, monkeypatch):
    monkeypatch.setattr("crm_chassis.apikeys.REMEMBERED_MOST", 3)
    made = [new_write_key() for _ in range(5)]
    for write_key in made:
        await keep_key(pool, write_key, name="shop", scopes=["collect"])
    keys = ApiKeys(pool)

    for write_key in made:
        assert await keys.find(write_key)

    assert len(keys._remembered) == 3


def test_a_write_key_has_the_one_shape_that_every_sdk_accepts():
    made = {new_write_key() for _ in range(100)}

    assert len(made) == 100
    assert all(len(each) == 25 and each[0] == "c" and each.isalnum() for each in made)


@pytest.mark.parametrize(
    ("name", "scopes"),
    [
        ("", ["a:b"]),
        ("a\nb", ["a:b"]),
        ("x" * 101, ["a:b"]),
        ("ok", []),
        ("ok", ["A B"]),
        ("ok", ["scores"]),
        ("ok", ["scores:"]),
        ("ok", ["a:b", ":read"]),
        ("ok", ["a:b", "collect"]),
    ],
)
async def test_a_key_is_made_with_a_name_and_scopes_that_can_be_read(pool, name, scopes):
    with pytest.raises(BadKeyNameError):
        await keep_key(pool, new_api_key(), name=name, scopes=scopes)

    assert await list_keys(pool) == []


async def test_a_route_without_a_scope_stops_the_build(absent):
    bare = APIRouter()

    @bare.get("/open")
    async def forgotten() -> None: ...

    with pytest.raises(UnscopedRouteError, match="/open"):
        app_of(absent, bare)


async def test_a_route_may_be_public_on_purpose(absent):
    stated = APIRouter(dependencies=[Depends(public())])

    @stated.get("/open")
    async def welcome() -> int:
        return 1

    async with client_of(app_of(absent, stated)) as client:
        assert (await client.get("/open")).json() == 1


async def test_the_interface_names_the_key_and_the_scope_of_each_operation(absent):
    badge = {"type": "apiKey", "in": "header", "name": "X-Badge"}
    own = APIRouter(dependencies=[Depends(public(own_keys={"badge": badge}))])

    @own.post("/badged")
    async def badged() -> None: ...

    async with client_of(app_of(absent, router, own)) as client:
        described = (await client.get("/openapi.json")).json()

    reading, clearing = (described["paths"]["/things"][method] for method in ("get", "delete"))
    assert (reading["x-scope"], clearing["x-scope"]) == ("things:read", "things:write")
    assert reading["security"] == [{"API key": ["things:read"]}]
    assert "`things:read`" in reading["description"]
    posting = described["paths"]["/badged"]["post"]
    assert posting["security"] == [{"badge": []}]
    assert described["components"]["securitySchemes"]["badge"] == badge
    assert "503" in reading["responses"]
    assert "503" in posting["responses"]
    assert "security" not in described["paths"]["/livez"]["get"]
