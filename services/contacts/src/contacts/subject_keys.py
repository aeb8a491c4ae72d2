"""Keys of new subjects: minted with their ids, stored where the keystore's outbox finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crm_events.contacts import SubjectKeyRecord
from crm_events.keys import new_key, wrap
from crm_store.log.entries import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crm_events.keys import Kek
    from crm_store.keyring import Keyring

ADD: Final = """
insert into subject_key (key_id, kek_id, wrapped, unsent)
select u.key_id, $2, u.wrapped, true from unnest($1::text[], $3::text[]) as u(key_id, wrapped)
"""


@dataclass(frozen=True, slots=True)
class SubjectKeys:
    """Mints keys for customers and members."""

    keyring: Keyring
    kek: Kek

    def mint(self, key_id: str) -> SubjectKeyRecord:
        """A new key, wrapped. What is appended with `storing` of it can be sealed under it."""
        material = new_key()
        self.keyring.remember(key_id, material)
        wrapped = wrap(material, key_id=key_id, kek=self.kek)
        return SubjectKeyRecord(key_id=key_id, kek_id=self.kek.kek_id, wrapped=wrapped)

    def storing(self, keys: Sequence[SubjectKeyRecord]) -> tuple[Statement, ...]:
        """What stores keys that were minted here."""
        if not keys:
            return ()
        arguments = ([key.key_id for key in keys], self.kek.kek_id, [key.wrapped for key in keys])
        return (Statement(ADD, arguments),)
