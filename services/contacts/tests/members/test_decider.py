"""The rules about members: given what happened, when a command comes, then this follows."""

from __future__ import annotations

from uuid import UUID

import pytest
from contacts.members.decider import (
    ChangeMember,
    DeactivateMember,
    MemberAlreadyRegistered,
    MemberNotActive,
    MemberUnknown,
    ReactivateMember,
    RegisterMember,
    decide,
    evolve,
)
from contacts.members.mails import KIND, held
from crm_events.contacts import (
    MemberChanged,
    MemberDeactivated,
    MemberReactivated,
    MemberRegistered,
)
from crm_events.personal import ERASED, SEALED

BEA = UUID(int=0xBEA)
KEY = bytes(32)
REGISTERED = MemberRegistered(member_id=BEA, name="Bea", mail="bea@kith.test")
RENAMED = MemberChanged(member_id=BEA, fields=("name",), name="Bea B.")
MOVED = MemberChanged(member_id=BEA, fields=("mail",), mail="b@kith.test")
DEACTIVATED = MemberDeactivated(member_id=BEA)
REACTIVATED = MemberReactivated(member_id=BEA)


def given(*events):
    state = None
    for event in events:
        state = evolve(state, event)
    return state


def test_a_member_is_registered_with_name_and_mail():
    assert decide(RegisterMember(BEA, "Bea", "bea@kith.test"), given()) == (REGISTERED,)


def test_a_member_id_is_taken_once():
    with pytest.raises(MemberAlreadyRegistered):
        decide(RegisterMember(BEA, "Bea", "bea@kith.test"), given(REGISTERED))


def test_a_change_says_what_changed_and_nothing_else():
    [renamed] = decide(ChangeMember(name="Bea B.", mail="bea@kith.test"), given(REGISTERED))
    [both] = decide(ChangeMember("B", "b@kith.test"), given(REGISTERED))

    assert (renamed, renamed.mail) == (RENAMED, SEALED)
    assert (both.fields, both.name, both.mail) == (("name", "mail"), "B", "b@kith.test")


def test_what_is_so_already_is_not_done_again():
    assert decide(ChangeMember(name="Bea"), given(REGISTERED)) == ()
    assert decide(ReactivateMember(), given(REGISTERED)) == ()
    assert decide(DeactivateMember(), given(REGISTERED, DEACTIVATED)) == ()


def test_a_member_is_deactivated_and_reactivated():
    assert decide(DeactivateMember(), given(REGISTERED)) == (DEACTIVATED,)
    assert decide(ReactivateMember(), given(REGISTERED, DEACTIVATED)) == (REACTIVATED,)


def test_a_deactivated_member_is_not_changed():
    with pytest.raises(MemberNotActive):
        decide(ChangeMember(name="B"), given(REGISTERED, DEACTIVATED))


@pytest.mark.parametrize("command", [ChangeMember(), DeactivateMember(), ReactivateMember()])
def test_nothing_is_asked_of_a_member_who_is_unknown(command):
    with pytest.raises(MemberUnknown):
        decide(command, given())


def test_a_mail_is_reserved_for_as_long_as_its_member_is_active():
    first, second = held(given(REGISTERED), key=KEY), held(given(REGISTERED, MOVED), key=KEY)

    assert first is not None
    assert second is not None
    assert (first.kind, first.holder) == (KIND, BEA)
    assert first.digest != second.digest
    assert held(given(REGISTERED, RENAMED), key=KEY) == first
    assert held(given(REGISTERED, DEACTIVATED), key=KEY) is None
    assert held(given(REGISTERED, DEACTIVATED, REACTIVATED), key=KEY) == first


def test_nothing_is_reserved_for_a_member_who_was_erased():
    erased = MemberRegistered(member_id=BEA, name=ERASED, mail=ERASED)

    assert held(given(erased), key=KEY) is None


@pytest.mark.parametrize("event", [RENAMED, DEACTIVATED, REACTIVATED])
def test_what_is_told_of_nobody_makes_no_member(event):
    assert given(event) is None
