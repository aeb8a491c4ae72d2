"""How identifiers are normalised, and what is none."""

from __future__ import annotations

import pytest
from contacts.people.identifiers import IdentifierInvalidError, digest, distinct, identifier
from crm_events.contacts import Namespace

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("Ann@Example.COM", "ann@example.com"),
        (" ann@example.com ", "ann@example.com"),
        ("ANN.LEE+news@example.com", "ann.lee+news@example.com"),
        ("ann@xn--mnchen-3ya.de", "ann@münchen.de"),
        ("ann@MÜNCHEN.de", "ann@münchen.de"),
        ("STRASSE@example.com", "strasse@example.com"),
        ("straße@example.com", "straße@example.com"),
        ("MÜLLER@example.com", "müller@example.com"),
    ],
)
def test_a_mail_is_one_however_it_is_written(given, value):
    found = identifier(Namespace.MAIL, given, region=None)

    assert (found.value, found.given) == (value, given)


@pytest.mark.parametrize(
    "given",
    ["", "ann", "ann@", "@example.com", "a b@example.com", "ann@localhost", "ann@1.2.3.4",
     "Ann <ann@example.com>", "ann@example.com\n", "a" * 300 + "@example.com", "ann@exa mple.com"],
)  # fmt: skip
def test_what_is_no_mail_is_refused(given):
    if given.endswith("\n"):
        given = "ann\n@example.com"

    with pytest.raises(IdentifierInvalidError):
        identifier(Namespace.MAIL, given, region=None)


@pytest.mark.parametrize(
    ("given", "region", "value"),
    [
        ("+49 (89) 123 4567", None, "+49891234567"),
        ("089 1234567", "DE", "+49891234567"),
        ("tel:+1-201-555-0123", None, "+12015550123"),
        ("(201) 555-0123", "US", "+12015550123"),
    ],
)
def test_a_phone_number_is_one_however_it_is_written(given, region, value):
    assert identifier(Namespace.PHONE, given, region=region).value == value


@pytest.mark.parametrize("given", ["", "12", "089 1234567", "call me", "+1 201 555 0123 ext. 7"])
def test_what_is_no_phone_number_is_refused(given):
    with pytest.raises(IdentifierInvalidError):
        identifier(Namespace.PHONE, given, region=None)


@pytest.mark.parametrize("given", ["u-1", "Ünicode", "a" * 255, "node-next-1-x", " 7", "😀"])
@pytest.mark.parametrize("namespace", [Namespace.USER, Namespace.ANONYMOUS])
def test_ids_of_users_and_visitors_stay_as_they_are(namespace, given):
    assert identifier(namespace, given, region=None).value == given


@pytest.mark.parametrize("given", ["", "   ", "a\x00b", "a\nb", "a\u2028b", "a" * 256, "é" * 128])
def test_what_is_no_id_is_refused(given):
    with pytest.raises(IdentifierInvalidError):
        identifier(Namespace.USER, given, region=None)


def test_a_digest_depends_on_namespace_value_and_key():
    digests = {
        digest(Namespace.MAIL, "a", key=KEY),
        digest(Namespace.USER, "a", key=KEY),
        digest(Namespace.USER, "b", key=KEY),
        digest(Namespace.USER, "a", key=KEY[::-1]),
    }

    assert len(digests) == 4
    assert {len(one) for one in digests} == {32}


def test_a_refusal_does_not_repeat_the_value():
    with pytest.raises(IdentifierInvalidError) as refused:
        identifier(Namespace.MAIL, "secret.person", region=None)

    assert "secret" not in str(refused.value)


def test_identifiers_are_distinct_by_namespace_and_value():
    ann = identifier(Namespace.MAIL, "Ann@example.com", region=None)
    same = identifier(Namespace.MAIL, "ann@example.com", region=None)
    other = identifier(Namespace.USER, "ann@example.com", region=None)

    assert len(distinct([ann, same, other])) == 2
