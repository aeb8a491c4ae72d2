"""Receivers on this machine: an HTTP server and an SMTP server that answer as they are told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

HANGS = 0
"""Told instead of a status: the call is taken, and its answer never comes."""
HANG_S = 10.0


@dataclass
class Calls:
    """What came, and what is answered next; 200 where nothing is told."""

    url: str = ""
    came: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port of a server that answers by this handler."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def http_receiver() -> Iterator[Calls]:
    calls = Calls()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # as the server calls it
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.came.append(({k.lower(): v for k, v in self.headers.items()}, body))
            status, headers = calls.answers.pop(0) if calls.answers else (200, {})
            if status == HANGS:
                calls.over.wait(HANG_S)
                return
            self.send_response(status)
            for name, value in {"content-length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as port:
        calls.url = f"http://localhost:{port}/hooks"
        try:
            yield calls
        finally:
            calls.over.set()


@dataclass
class Mailbox:
    """What came, and what the server answers to a sender, a recipient and a message."""

    port: int = 0
    came: list[tuple[list[str], Message]] = field(default_factory=list)
    to_sender: str = "250 OK"
    to_recipient: str = "250 OK"
    to_data: list[str] = field(default_factory=list)

    async def handle_MAIL(self, server, session, envelope, address, options) -> str:  # noqa: N802  # as aiosmtpd calls it
        if self.to_sender.startswith("250"):
            envelope.mail_from = address
        return self.to_sender

    async def handle_RCPT(self, server, session, envelope, address, options) -> str:  # noqa: N802  # as aiosmtpd calls it
        if self.to_recipient.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.to_recipient

    async def handle_DATA(self, server, session, envelope) -> str:  # noqa: N802  # as above
        answer = self.to_data.pop(0) if self.to_data else "250 OK"
        if answer.startswith("250") or answer == "hangs up":
            self.came.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        if answer == "hangs up":
            server.transport.abort()
        return answer


@contextmanager
def smtp_receiver() -> Iterator[Mailbox]:
    with socket.socket() as free:  # aiosmtpd calls the port it is given, so it wants a real one
        free.bind(("127.0.0.1", 0))
        mailbox = Mailbox(port=free.getsockname()[1])
    controller = Controller(mailbox, hostname="127.0.0.1", port=mailbox.port, ready_timeout=30)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
