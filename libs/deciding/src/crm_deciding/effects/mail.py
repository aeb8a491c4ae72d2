"""Mail by SMTP: one connection a mail, every answer of the server told apart."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as POLICY
from email.policy import SMTPUTF8
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final, Literal

from aiosmtplib import SMTP, SMTPException, SMTPResponseException
from crm_store import tracing

from crm_deciding.effects.hosts import mail_address
from crm_deciding.effects.intent import Mail
from crm_deciding.effects.sending import Later, Never, Outcome, Sent, Unknown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from crm_store.clock import Clock

    from crm_deciding.effects.intent import Message

ANSWER_WITHIN_S: Final = 10.0
PERMANENT: Final = 500
"""SMTP answers from here on are for good (RFC 5321, 4.2.1), if they are about this mail."""
WHO_WE_ARE: Final = frozenset({530, 534, 535, 538})
"""Answers about our own credentials (RFC 4954), whenever they come: these can be set right."""

Security = Literal["tls", "starttls", "none"]


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed over, and as whom."""

    host: str
    port: int
    security: Security
    user: str | None
    password: str | None
    sender: str  # the address in From, ASCII


class MailChannel:
    """`address_of` tells where somebody's mail goes, by id, or why it goes nowhere or not yet."""

    def __init__(
        self,
        server: MailServer,
        *,
        address_of: Callable[[str], Awaitable[str | Later | Never]],
        clock: Clock,
    ) -> None:
        self._server = server
        self._address_of = address_of
        self._clock = clock
        self._about = {
            "network.protocol.name": "smtp",
            "server.address": server.host,
            "server.port": server.port,
        }

    async def send(self, intent_id: UUID, message: Message) -> Outcome:
        if not isinstance(message, Mail):
            return Never("this is no mail")
        address = await self._address_of(message.to)
        if not isinstance(address, str):
            return address
        try:
            address = mail_address(address)
        except ValueError as error:
            return Never(f"the domain of the address {error}")
        return await self._hand_over(self._written(intent_id, message, address), address)

    def _written(self, intent_id: UUID, mail: Mail, address: str) -> EmailMessage:
        written = EmailMessage()
        written["From"] = self._server.sender
        written["To"] = address
        written["Subject"] = mail.subject
        written["Date"] = format_datetime(self._clock())
        # The same however often it is sent: mailboxes that look at it show it once.
        written["Message-ID"] = f"<{intent_id}@{self._server.sender.rpartition('@')[2]}>"
        written["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody answers it by itself
        written.set_content(mail.text)
        return written

    async def _hand_over(self, written: EmailMessage, address: str) -> Outcome:
        server = self._server
        client = SMTP(
            hostname=server.host,
            port=server.port,
            use_tls=server.security == "tls",
            start_tls=server.security == "starttls",
            username=server.user,
            password=server.password,
            timeout=ANSWER_WITHIN_S,
        )
        asked = given = False
        try:
            with tracing.calling("send mail", self._about):
                async with client:
                    if not address.isascii():
                        await client.ehlo()
                        if not client.supports_extension("smtputf8"):
                            return Never("the mail server takes no address with such letters")
                    text, options, encoding = _as_sent(written, address)
                    await client.mail(server.sender, options=options, encoding=encoding)
                    asked = True  # from here on a refusal is about this mail
                    await client.rcpt(address, encoding=encoding)
                    given = True  # from here on an answer that does not come leaves it open
                    answer = await client.data(text)
        except SMTPResponseException as refused:
            told = f"SMTP {refused.code}"
            for_good = refused.code >= PERMANENT and refused.code not in WHO_WE_ARE
            return Never(told) if asked and for_good else Later(told)
        except (SMTPException, OSError) as error:
            told = type(error).__name__
            return Unknown(told) if given else Later(told)
        return Sent(f"SMTP {answer.code}")


def _as_sent(written: EmailMessage, address: str) -> tuple[bytes, list[str], str]:
    """The mail, what MAIL FROM says of it, and its encoding: RFC 6531 where ASCII is too little."""
    if address.isascii():
        return written.as_bytes(policy=POLICY), [], "ascii"
    return written.as_bytes(policy=SMTPUTF8), ["SMTPUTF8"], "utf-8"
