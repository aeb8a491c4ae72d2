"""What is written along with what members are told: a mail reserved or let go, a key made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crm_chassis.http.handling import Along

from contacts.members.decider import RegisterMember
from contacts.members.mails import held, letting_go

if TYPE_CHECKING:
    from contacts.members.decider import Member, MemberCommand
    from contacts.subject_keys import SubjectKeys


@dataclass(frozen=True, slots=True)
class MembersAlong:
    """By the keys of this service; mails are reserved by their HMAC under `digest_key`."""

    subject_keys: SubjectKeys
    digest_key: bytes

    def __call__(
        self, command: MemberCommand, before: Member | None, after: Member | None
    ) -> Along:
        had, has = (held(member, key=self.digest_key) for member in (before, after))
        also = () if had is None or had == has else (letting_go(had),)
        if isinstance(command, RegisterMember):
            key = self.subject_keys.mint(str(command.member_id))
            also = (*self.subject_keys.storing([key]), *also)
        return Along(() if has is None or has == had else (has,), also)
