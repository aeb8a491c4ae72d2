"""Commands about people over HTTP, and the exact look-up by identifier."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

import asyncpg
from crm_chassis.http.access import requires
from crm_chassis.http.bodies import CommandBody, gated_router
from crm_chassis.http.bulk import MOST_ITEMS, BulkAnswer, one_by_one
from crm_chassis.http.idempotency import Asked, once
from crm_chassis.http.problems import Problem, invalid_input, request_urn
from crm_chassis.http.reads import Receipt, following
from crm_chassis.http.terms import CommandTerms, Terms, TermsOfSeveral, etag
from crm_deciding.refusal import Refusal
from crm_events.contacts import Identifier, LinkReason, Namespace, SubjectKeyRecord
from crm_store.log.entries import VersionConflictError
from crm_store.log.retried import TooManyConflictsError, retried
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, Field

from contacts.people.decider import ChangePerson, IdentifyPerson, PersonUnknown, UnlinkPerson
from contacts.people.directory import Group, GroupTooLargeError, directory, group_of
from contacts.people.draft import Cause, Draft
from contacts.people.identifiers import IdentifierInvalidError, identifier
from contacts.people.registry import Registry

MOST_GIVEN_IDENTIFIERS = 100
LONGEST_GIVEN = 1_000

KEY = "select key_id, kek_id, wrapped, destroyed from subject_key where key_id = $1"

T = TypeVar("T")

WRITE = Depends(requires("people:write"))
READ = Depends(requires("people:read"))


class GivenIdentifier(CommandBody):
    """An identifier as it is known outside; it is normalised here."""

    namespace: Namespace
    value: Annotated[str, Field(min_length=1, max_length=LONGEST_GIVEN)]


class Registration(CommandBody):
    identifiers: Annotated[list[GivenIdentifier], Field(max_length=MOST_GIVEN_IDENTIFIERS)]
    profile: dict[str, Any] = Field(default_factory=dict)


class Registrations(CommandBody):
    items: Annotated[list[Registration], Field(min_length=1, max_length=MOST_ITEMS)]


class Change(CommandBody):
    """Fields to set; an explicit null clears one, what is absent stays."""

    profile: dict[str, Any]


class LinkTarget(CommandBody):
    into: UUID


class Registered(Receipt):
    """The new customer id, with its wrapped key for services that seal at once."""

    customer_id: UUID
    key: SubjectKeyRecord


class Found(BaseModel):
    """Whom an identifier leads to."""

    customer_id: UUID  # the one whose history holds them all
    holder: UUID  # the original that the identifier is of
    originals: list[UUID]


@dataclass(frozen=True, slots=True)
class People:
    """What the routes stand on."""

    registry: Registry
    pool: asyncpg.Pool
    clock: Callable[[], datetime]
    region: str | None

    def cause(self, terms: CommandTerms) -> Cause:
        return Cause(self.clock(), {"correlationid": terms.request_id})

    def identifier(self, given: GivenIdentifier, pointer: str) -> Identifier:
        """The identifier. Answers 422 naming the field where it is none."""
        try:
            return identifier(given.namespace, given.value, region=self.region)
        except IdentifierInvalidError as error:
            raise invalid_input("body", pointer, error.reason) from None

    async def change(
        self,
        customer_id: UUID,
        decide: Callable[[Draft], object],
        *,
        terms: CommandTerms,
        named: tuple[Identifier, ...] = (),
        also_load: tuple[UUID, ...] = (),
    ) -> Receipt:
        """Load, decide, append. A conflict is retried unless the caller stated the version."""
        asked, if_match = terms.asked, terms.if_match

        async def attempt() -> Receipt:
            draft = await self.registry.draft(named, load={customer_id, *also_load})
            if if_match is not None and draft.version(customer_id) != if_match:
                raise VersionConflictError(customer_id)
            try:
                _assert_free(draft, named, customer_id)
                decide(draft)
            except (Refusal, Problem):
                await self.registry.confirm(draft)
                raise
            wrote = bool(draft.streams)
            receipt = Receipt.of(customer_id, draft.version(customer_id), None)
            keeps = [asked.keeps(receipt, wrote=wrote)] if asked else []
            if wrote:
                appended = await self.registry.append(draft, also=keeps)
                return receipt.model_copy(update={"position": str(appended.position)})
            for statement in keeps:
                await self.pool.execute(statement.sql, *statement.args)
            return receipt

        return await _answered(
            lambda: once(asked, self.pool, Receipt, attempt), retries=if_match is None
        )

    async def register(
        self, body: Registration, cause: Cause, *, asked: Asked | None
    ) -> Registered:
        """Open a customer, known by at least one identifier that nobody else has."""
        identifiers = tuple(
            self.identifier(given, f"/identifiers/{at}/value")
            for at, given in enumerate(body.identifiers)
        )

        async def attempt() -> Receipt:
            draft = await self.registry.draft(identifiers)
            try:
                _assert_free(draft, identifiers, None)
            except Problem:
                await self.registry.confirm(draft)
                raise
            customer_id = draft.register(*identifiers, cause=cause, profile=body.profile)
            receipt = Receipt.of(customer_id, draft.version(customer_id), None)
            keeps = [asked.keeps(receipt, wrote=True)] if asked else []
            appended = await self.registry.append(draft, also=keeps)
            return receipt.model_copy(update={"position": str(appended.position)})

        receipt = await _answered(lambda: once(asked, self.pool, Receipt, attempt), retries=True)
        # Looked up for each answer: one that was kept would outlive the key that was destroyed.
        [row] = await self.pool.fetch(KEY, str(receipt.stream_id))
        key = SubjectKeyRecord.model_validate(dict(row))
        return Registered(**receipt.model_dump(), customer_id=receipt.stream_id, key=key)


def people_routes(people: People) -> APIRouter:
    """Commands: scope people:write. The look-up: people:read."""
    router = gated_router(tag="people")

    @router.post("/people", status_code=201, dependencies=[WRITE])
    async def register_person(body: Registration, response: Response, terms: Terms) -> Registered:
        """Open a customer, known by at least one identifier that nobody else has."""
        registered = await people.register(body, people.cause(terms), asked=terms.asked)
        response.headers["ETag"] = etag(registered.version)
        return registered

    @router.post("/people/bulk", dependencies=[WRITE])
    async def register_people(body: Registrations, terms: TermsOfSeveral) -> BulkAnswer[Registered]:
        """Open up to 100 customers, in order; each is answered as if it had come alone."""
        cause = people.cause(terms)

        async def register(number: int, one: Registration) -> Registered:
            return await people.register(one, cause, asked=terms.item(number).asked)

        instance = request_urn(terms.request_id)
        return await one_by_one(body.items, register, status=201, instance=instance)

    @router.patch("/people/{customer_id}", dependencies=[WRITE])
    async def change_person(
        customer_id: UUID, body: Change, response: Response, terms: Terms
    ) -> Receipt:
        """Set and clear profile fields."""
        command, cause = ChangePerson(customer_id, body.profile), people.cause(terms)
        receipt = await people.change(
            customer_id, lambda draft: draft.apply(command, cause), terms=terms
        )
        response.headers["ETag"] = etag(receipt.version)
        return receipt

    @router.post("/people/{customer_id}/identifiers", dependencies=[WRITE])
    async def identify_person(
        customer_id: UUID, body: GivenIdentifier, response: Response, terms: Terms
    ) -> Receipt:
        """Add an identifier that nobody else has."""
        added = people.identifier(body, "/value")
        command, cause = IdentifyPerson(customer_id, added), people.cause(terms)
        receipt = await people.change(
            customer_id, lambda draft: draft.apply(command, cause), terms=terms, named=(added,)
        )
        response.headers["ETag"] = etag(receipt.version)
        return receipt

    @router.post("/people/{customer_id}/link", dependencies=[WRITE])
    async def link_person(
        customer_id: UUID, body: LinkTarget, response: Response, terms: Terms
    ) -> Receipt:
        """Let this customer's history belong to another's. Nothing is rewritten."""
        cause = people.cause(terms)
        receipt = await people.change(
            customer_id,
            lambda draft: draft.link(customer_id, body.into, LinkReason.STATED, cause=cause),
            terms=terms,
            also_load=(body.into,),
        )
        response.headers["ETag"] = etag(receipt.version)
        return receipt

    @router.delete("/people/{customer_id}/link", dependencies=[WRITE])
    async def unlink_person(customer_id: UUID, response: Response, terms: Terms) -> Receipt:
        """Take the link back: each is again what its own facts say."""
        command, cause = UnlinkPerson(customer_id), people.cause(terms)
        receipt = await people.change(
            customer_id, lambda draft: draft.apply(command, cause), terms=terms
        )
        response.headers["ETag"] = etag(receipt.version)
        return receipt

    _add_look_up(router, people)
    return router


def _add_look_up(router: APIRouter, people: People) -> None:
    @router.get("/customers/lookup", dependencies=[READ, Depends(following(directory))])
    async def look_up(
        namespace: Namespace, value: Annotated[str, Query(min_length=1, max_length=LONGEST_GIVEN)]
    ) -> Found:
        """Whose identifier this is, exactly; 404 where it is nobody's."""
        try:
            wanted = identifier(namespace, value, region=people.region)
        except IdentifierInvalidError as error:
            raise invalid_input("query", "/value", error.reason) from None
        holder = (await people.registry.draft((wanted,))).holder(wanted)
        if holder is None:
            raise Problem(404, "customer-unknown", "This identifier is nobody's.")
        group = await whole_group(people.pool, holder)
        if group is None:  # the directory has not folded the registration yet
            return Found(customer_id=holder, holder=holder, originals=[holder])
        return Found(
            customer_id=group.survivor.customer_id, holder=holder, originals=group.customer_ids
        )


async def whole_group(pool: asyncpg.Pool, customer_id: UUID) -> Group | None:
    """`group_of`; answers 422 where the group is too large to be shown whole."""
    try:
        return await group_of(pool, customer_id)
    except GroupTooLargeError as too_large:
        raise Problem(422, "group-too-large", str(too_large)) from None


async def _answered(attempt: Callable[[], Awaitable[T]], *, retries: bool) -> T:
    try:
        return await (retried(attempt) if retries else attempt())
    except PersonUnknown as refusal:
        raise Problem(404, "person-unknown", refusal.detail) from None
    except TooManyConflictsError:
        raise Problem(409, "version-conflict", "Others kept changing it; try again.") from None


def _assert_free(draft: Draft, named: tuple[Identifier, ...], customer_id: UUID | None) -> None:
    """No attempt more gets an identifier that is known to be another's."""
    for one in named:
        holder = draft.holder(one)
        if holder not in {None, customer_id}:
            raise Problem(409, "already-taken", f"This {one.namespace} belongs to another.")
