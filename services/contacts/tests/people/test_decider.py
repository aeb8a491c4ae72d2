"""The rules about people: given what happened, when a command comes, then this follows."""

from __future__ import annotations

from uuid import UUID

import pytest
from contacts.people.decider import (
    MAX_IDENTIFIERS,
    MAX_LINEAGE,
    MAX_PROFILE_FIELDS,
    NOBODY,
    AlreadyLinked,
    ChangePerson,
    IdentifierMissing,
    IdentifyPerson,
    LinkPerson,
    LinkTargetUnknown,
    LinkTooDeep,
    LinkToSelf,
    NotLinked,
    PersonAlreadyRegistered,
    PersonUnknown,
    ProfileTooLarge,
    RegisterPerson,
    TooManyIdentifiers,
    UnlinkPerson,
    decide,
    evolve,
)
from crm_events.contacts import (
    Identifier,
    LinkReason,
    Namespace,
    PersonChanged,
    PersonIdentified,
    PersonLinked,
    PersonRegistered,
    PersonUnlinked,
)
from crm_events.personal import ERASED

ANN, BOB = UUID(int=1), UUID(int=2)
MAIL = Identifier(namespace=Namespace.MAIL, value="ann@example.test", given="Ann@Example.test")
USER = Identifier(namespace=Namespace.USER, value="u-1", given="u-1")
REGISTERED = PersonRegistered(customer_id=ANN, identifiers=(MAIL,), profile={"name": "Ann"})
LINKED = PersonLinked(customer_id=ANN, into=BOB, reason=LinkReason.STATED)


def given(*events):
    state = NOBODY
    for event in events:
        state = evolve(state, event)
    return state


def link(into=BOB, lineage=None):
    return LinkPerson(ANN, into, LinkReason.STATED, (into,) if lineage is None else lineage)


def test_a_person_is_registered_with_identifiers_and_profile():
    events = decide(RegisterPerson(ANN, (MAIL, USER), {"name": "Ann"}), given())

    assert events == (
        PersonRegistered(customer_id=ANN, identifiers=(MAIL, USER), profile={"name": "Ann"}),
    )


def test_an_identifier_given_twice_is_registered_once():
    [event] = decide(RegisterPerson(ANN, (MAIL, MAIL)), given())

    assert event.identifiers == (MAIL,)


def test_a_null_in_a_first_profile_says_nothing():
    [event] = decide(RegisterPerson(ANN, (MAIL,), {"name": "Ann", "phone": None}), given())

    assert event.profile == {"name": "Ann"}


def test_a_person_needs_an_identifier():
    with pytest.raises(IdentifierMissing):
        decide(RegisterPerson(ANN, ()), given())


def test_a_customer_id_is_registered_once():
    with pytest.raises(PersonAlreadyRegistered):
        decide(RegisterPerson(ANN, (USER,)), given(REGISTERED))


def test_a_first_profile_has_a_limit():
    profile = {str(n): n for n in range(MAX_PROFILE_FIELDS + 1)}

    with pytest.raises(ProfileTooLarge):
        decide(RegisterPerson(ANN, (MAIL,), profile), given())


def test_changed_fields_are_told_by_name_where_the_name_tells_nothing_about_the_person():
    command = ChangePerson(ANN, {"name": "Anne", "favouriteDisease": "flu", "title": "Dr"})

    events = decide(command, given(REGISTERED))

    assert events == (
        PersonChanged(
            customer_id=ANN,
            fields=("name", "other", "title"),
            profile={"name": "Anne", "favouriteDisease": "flu", "title": "Dr"},
        ),
    )


def test_fields_that_stay_as_they_are_are_not_told():
    [event] = decide(ChangePerson(ANN, {"name": "Ann", "title": "Dr"}), given(REGISTERED))

    assert event.profile == {"title": "Dr"}


def test_a_change_that_changes_nothing_is_no_event():
    assert decide(ChangePerson(ANN, {"name": "Ann"}), given(REGISTERED)) == ()


def test_a_null_clears_a_field():
    state = given(REGISTERED)

    [event] = decide(ChangePerson(ANN, {"name": None}), state)

    assert event.profile == {"name": None}
    assert evolve(state, event).profile == {}


def test_a_null_for_a_field_that_is_not_there_is_no_event():
    assert decide(ChangePerson(ANN, {"phone": None}), given(REGISTERED)) == ()


def test_one_and_true_are_two_values():
    changed = PersonChanged(customer_id=ANN, fields=("other",), profile={"vip": 1})

    [event] = decide(ChangePerson(ANN, {"vip": True}), given(REGISTERED, changed))

    assert event.profile == {"vip": True}


def test_an_object_with_its_keys_in_another_order_is_the_same():
    address = {"city": "Bonn", "street": "Am Hof"}
    changed = PersonChanged(customer_id=ANN, fields=("address",), profile={"address": address})
    turned = {"address": {"street": "Am Hof", "city": "Bonn"}}

    assert decide(ChangePerson(ANN, turned), given(REGISTERED, changed)) == ()


def test_a_profile_has_a_limit():
    command = ChangePerson(ANN, {str(n): n for n in range(MAX_PROFILE_FIELDS)})

    with pytest.raises(ProfileTooLarge):
        decide(command, given(REGISTERED))


def test_nobody_unknown_is_changed():
    with pytest.raises(PersonUnknown):
        decide(ChangePerson(ANN, {"name": "Ann"}), given())


def test_a_person_gains_an_identifier():
    events = decide(IdentifyPerson(ANN, USER), given(REGISTERED))

    assert events == (PersonIdentified(customer_id=ANN, identifier=USER),)


def test_an_identifier_the_person_has_is_no_event():
    assert decide(IdentifyPerson(ANN, MAIL), given(REGISTERED)) == ()


def test_the_same_value_in_another_namespace_is_another_identifier():
    same = Identifier(namespace=Namespace.USER, value=MAIL.value, given=MAIL.given)

    assert decide(IdentifyPerson(ANN, same), given(REGISTERED))


def test_nobody_unknown_is_identified():
    with pytest.raises(PersonUnknown):
        decide(IdentifyPerson(ANN, USER), given())


def test_a_person_has_at_most_a_thousand_identifiers():
    many = tuple(
        Identifier(namespace=Namespace.ANONYMOUS, value=str(n), given=str(n))
        for n in range(MAX_IDENTIFIERS)
    )
    state = given(PersonRegistered(customer_id=ANN, identifiers=many))

    with pytest.raises(TooManyIdentifiers):
        decide(IdentifyPerson(ANN, USER), state)


def test_a_person_is_linked_into_another():
    assert decide(link(), given(REGISTERED)) == (LINKED,)


def test_a_link_that_is_there_is_no_event():
    assert decide(link(), given(REGISTERED, LINKED)) == ()


def test_a_linked_person_is_not_linked_elsewhere():
    with pytest.raises(AlreadyLinked):
        decide(link(UUID(int=3)), given(REGISTERED, LINKED))


def test_a_person_is_not_linked_into_themselves():
    with pytest.raises(LinkToSelf):
        decide(link(ANN), given(REGISTERED))


def test_a_link_closes_no_circle():
    with pytest.raises(LinkToSelf):
        decide(link(BOB, lineage=(BOB, UUID(int=3), ANN)), given(REGISTERED))


def test_a_line_of_links_has_a_limit():
    lineage = tuple(UUID(int=2 + n) for n in range(MAX_LINEAGE))

    with pytest.raises(LinkTooDeep):
        decide(link(BOB, lineage=lineage), given(REGISTERED))


def test_a_person_is_linked_into_somebody_known():
    with pytest.raises(LinkTargetUnknown):
        decide(link(BOB, lineage=()), given(REGISTERED))


def test_nobody_unknown_is_linked():
    with pytest.raises(PersonUnknown):
        decide(link(), given())


def test_a_link_is_taken_back():
    events = decide(UnlinkPerson(ANN), given(REGISTERED, LINKED))

    assert events == (PersonUnlinked(customer_id=ANN, was_into=BOB),)
    assert given(REGISTERED, LINKED, *events) == given(REGISTERED)


def test_only_a_link_that_is_there_is_taken_back():
    with pytest.raises(NotLinked):
        decide(UnlinkPerson(ANN), given(REGISTERED))


def test_nobody_unknown_is_unlinked():
    with pytest.raises(PersonUnknown):
        decide(UnlinkPerson(ANN), given())


def test_erased_values_count_as_absent():
    hidden = Identifier(namespace=Namespace.MAIL, value=ERASED, given=ERASED)

    state = given(
        PersonRegistered(customer_id=ANN, identifiers=(hidden,), profile=ERASED),
        PersonChanged(customer_id=ANN, fields=("name",), profile=ERASED),
    )

    assert (state.customer_id, state.identifiers, state.profile) == (ANN, frozenset(), {})
