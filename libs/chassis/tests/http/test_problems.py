from typing import Annotated
from uuid import UUID

import asyncpg
import pytest
import structlog
from asking import app_of, client_of
from crm_chassis.http.access import public
from crm_chassis.http.app import UngatedBodyError
from crm_chassis.http.bodies import CommandBody, gated_router
from crm_chassis.http.pages import Page, Paging, read_cursor, write_cursor
from crm_chassis.http.problems import Problem
from crm_chassis.http.terms import Terms
from crm_deciding.refusal import Refusal
from crm_events.errors import DestroyedKeyError
from crm_store.ids import new_id
from crm_store.log.entries import EventTooLargeError, ReservedError, VersionConflictError
from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import TypeAdapter

PLACE = TypeAdapter(tuple[int, str])


class DealNotOpen(Refusal):
    """The deal was closed before."""


def server_error(state: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": "said", "S": "ERROR", "V": "ERROR"})


RAISED = {
    "refusal": DealNotOpen(),
    "refusal-with-words": DealNotOpen("closed in May"),
    "problem": Problem(418, "teapot", "no coffee", headers={"X-Pot": "tea"}),
    "conflict": VersionConflictError(new_id()),
    "reserved": ReservedError("mail", new_id()),
    "large": EventTooLargeError(new_id(), 300_000, 262_144),
    "erased": DestroyedKeyError("ada"),
    "gone": HTTPException(404),
    "away": ConnectionRefusedError(),
    "shut-down": server_error("57P01"),
    "unprepared": server_error("42P01"),
    "half-prepared": server_error("42703"),
    "not-a-value": server_error("22021"),
    "our-division": server_error("22012"),
    "bug": KeyError("ada@example.org"),
}


class Note(CommandBody):
    text: str
    count: int = 0


router = gated_router(prefix="/v1", tag="probe")
open_to_all = [Depends(public())]


@router.post("/raise/{name}", dependencies=open_to_all)
async def raise_one(name: str, terms: Terms) -> None:
    raise RAISED[name]


@router.post("/notes", dependencies=open_to_all)
async def note(body: Note) -> Note:
    return body


@router.get("/things/{thing_id}", dependencies=open_to_all)
async def thing(thing_id: UUID, size: Annotated[int, Query(le=5)] = 1) -> int:
    return size


@router.get("/pages", dependencies=open_to_all)
async def page(paging: Paging) -> Page[int]:
    place = read_cursor(PLACE, paging.cursor)
    first = 0 if place is None else place[0]
    return Page(items=[first], next=write_cursor(PLACE, (first + paging.limit, "ada")))


@pytest.fixture
async def client(absent):
    async with client_of(app_of(absent, router)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("raised", "status", "name"),
    [
        ("refusal", 409, "deal-not-open"),
        ("problem", 418, "teapot"),
        ("conflict", 409, "version-conflict"),
        ("reserved", 409, "already-taken"),
        ("large", 413, "too-large"),
        ("erased", 410, "erased"),
        ("gone", 404, "not-found"),
        ("away", 503, "dependency-away"),
        ("shut-down", 503, "dependency-away"),
        ("unprepared", 503, "not-migrated"),
        ("half-prepared", 503, "not-migrated"),
        ("not-a-value", 422, "invalid-input"),
        ("our-division", 500, "internal-error"),
        ("bug", 500, "internal-error"),
    ],
)
async def test_every_error_is_answered_as_a_problem_with_a_stable_type(
    client, raised, status, name
):
    answer = await client.post(f"/v1/raise/{raised}", headers={"X-Request-Id": "r-1"})

    problem = answer.json()
    assert answer.status_code == problem["status"] == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:kith:problem:{name}"
    assert problem["instance"] == "urn:kith:request:r-1"
    assert "ada@" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_an_outage_is_a_word_in_the_log_and_a_bug_is_a_stack(client):
    with structlog.testing.capture_logs() as lines:
        await client.post("/v1/raise/away")
        await client.post("/v1/raise/bug")

    outage, failed, bug = lines
    assert (outage["event"], outage["because"]) == ("http.request", "ConnectionRefusedError")
    assert (failed["event"], type(failed["exc_info"])) == ("http.failed", KeyError)
    assert (bug["event"], bug["status"]) == ("http.request", 500)


async def test_a_refusal_is_explained_by_its_class_or_by_what_was_raised(client):
    plain = await client.post("/v1/raise/refusal")
    worded = await client.post("/v1/raise/refusal-with-words")

    assert plain.json()["detail"] == "The deal was closed before."
    assert worded.json()["detail"] == "closed in May"


async def test_a_conflict_is_412_to_who_stated_the_version(client):
    answer = await client.post("/v1/raise/conflict", headers={"If-Match": '"3"'})

    assert answer.status_code == 412
    assert answer.json()["type"] == "urn:kith:problem:version-mismatch"


@pytest.mark.parametrize(
    "given", ["*", '"x"', "-1", '"99999999999"', '"1", "2"', "W/5", '"1', '1"', '""1""', '"']
)
async def test_a_version_that_is_none_is_refused(client, given):
    answer = await client.post("/v1/raise/conflict", headers={"If-Match": given})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/If-Match"


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b'{"text": "\\u0000"}', 422, "/text"),
        (b'{"text": "\\ud800"}', 422, "/text"),
        (b'{"text": "a", "count": 9223372036854775808}', 422, "/count"),
        (b'{"text": "a", "count": NaN}', 422, "/count"),
        (b'{"text": "a", "count": 1e400}', 422, "/count"),
        (b'{"text": "a", "text": "b"}', 422, "/text"),
        (b'{"text": 1}', 422, "/text"),
        (b'{"text": "a", "tex": 1}', 422, "/tex"),
        (b"{}", 422, "/text"),
        (b"[]", 422, ""),
        (b"", 422, ""),
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b'{"text": "' + b"a" * 10_000 + b'"}', 413, None),
        (b"[" * 5_000, 422, ""),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
async def test_a_bad_body_is_refused_by_place_and_never_repeated(client, body, status, pointer):
    answer = await client.post(
        "/v1/notes", content=body, headers={"Content-Type": "application/json"}
    )
    good = await client.post("/v1/notes", json={"text": "a", "count": 2})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if pointer is not None:
        assert answer.json()["errors"][0]["pointer"] == pointer
    assert "input" not in answer.json().get("errors", [{}])[0]
    assert good.json() == {"text": "a", "count": 2}


async def test_a_body_that_is_sent_in_pieces_is_bounded_too(client):
    async def pieces():
        for _ in range(20):
            yield b" " * 1_000

    answer = await client.post(
        "/v1/notes", content=pieces(), headers={"Content-Type": "application/json"}
    )

    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("path", "status", "place", "pointer"),
    [
        ("/v1/things/nine", 422, "path", "/thing_id"),
        (f"/v1/things/{UUID(int=1)}?size=9", 422, "query", "/size"),
        (f"/v1/things/{UUID(int=1)}?size=a%00", 422, "query", ""),
        ("/v1/things/a%00", 422, "path", ""),
        ("/v1/pages?limit=0", 422, "query", "/limit"),
        ("/v1/pages?limit=1001", 422, "query", "/limit"),
        ("/v1/pages?cursor=%C3%BC", 422, "query", "/cursor"),
        ("/v1/pages?cursor=AAA", 422, "query", "/cursor"),
        ("/v1/pages?cursor=" + "A" * 1_025, 422, "query", "/cursor"),
        ("/v1/pages?cursor=WzEsICJcdTAwMDAiXQ", 422, "query", "/cursor"),
    ],
)
async def test_a_bad_parameter_is_refused_by_name(client, path, status, place, pointer):
    answer = await client.get(path)

    assert answer.status_code == status
    assert (answer.json()["errors"][0]["in"], answer.json()["errors"][0]["pointer"]) == (
        place,
        pointer,
    )


async def test_a_cursor_leads_to_the_next_page(client):
    first = (await client.get("/v1/pages?limit=7")).json()
    second = (await client.get(f"/v1/pages?limit=7&cursor={first['next']}")).json()

    assert (first["items"], second["items"]) == ([0], [7])


@pytest.mark.parametrize("path", ["/nowhere", "/v1/notes/"])
async def test_an_unknown_path_is_a_problem_and_never_a_redirect(client, path):
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_wrong_method_is_told_the_right_ones(client):
    answer = await client.delete("/v1/notes")

    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"


async def test_the_interface_is_described_with_its_problems(client):
    described = (await client.get("/openapi.json")).json()

    answers = described["paths"]["/v1/notes"]["post"]["responses"]
    assert list(answers["4XX"]["content"]) == ["application/problem+json"]
    assert "422" not in answers


def test_a_body_past_the_gate_stops_the_build(absent):
    ungated = APIRouter(prefix="/v2")

    @ungated.post("/notes", dependencies=open_to_all)
    async def write(body: Note) -> None: ...

    with pytest.raises(UngatedBodyError, match="/v2/notes"):
        app_of(absent, ungated)


async def test_a_log_that_is_not_settled_is_503_with_retry_after(pool, probe):
    router = APIRouter()

    @router.post("/count", dependencies=[Depends(public())])
    async def count() -> None:
        await probe.count(UUID(int=1), 1)

    await pool.execute("update log_epoch set settled_at = null")
    async with client_of(app_of(pool, router)) as client:
        refused = await client.post("/count")
        ready = await client.get("/readyz")
        await pool.execute("update log_epoch set settled_at = now()")
        taken = await client.post("/count")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert refused.json()["type"] == "urn:kith:problem:log-not-settled"
    assert (ready.status_code, ready.json()["log"]) == (200, "waits-for-recover")
    assert taken.status_code == 200
