"""A mail server on loopback (RFC 5321): it offers what it is told, keeps what it is given, refuses on demand."""

import base64
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Self

TLS = Path(__file__).parents[1] / "collectors" / "tls"
HOST = "hooks.example"
"""The name that the certificate of the tests is for."""


@dataclass
class Mail:
    sender: str
    to: list[str]
    raw: bytes
    encrypted: bool
    user: str | None

    @property
    def message(self) -> EmailMessage:
        return message_from_bytes(self.raw, policy=default)

    def part(self, kind: str) -> str:
        found = self.message.get_body((kind,))
        assert found is not None
        return str(found.get_content())


@dataclass
class SmtpServer:
    """Takes mail from anybody, or with *users* from those alone; speaks TLS by STARTTLS, or at once if *implicit*."""

    context: ssl.SSLContext | None = None
    implicit: bool = False
    users: Mapping[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    """What to say to a command instead: ``{"RCPT": "550 no such user"}``."""
    silent: bool = False
    hangs_up: bool = False
    """Whether it closes the connection when it has a message, instead of answering."""
    mails: list[Mail] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """Everything that clients said."""

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self._open: list[socket.socket] = []
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(10)
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        try:
            if self.implicit:
                client = self.secure(client)
            self._talk(client)
        except OSError:
            return
        finally:
            client.close()

    def _talk(self, client: socket.socket) -> None:
        if self.silent:
            client.recv(1)
            return
        talk = _Conversation(self, client)
        talk.say("220 loopback ESMTP")
        while line := talk.heard():
            verb = line.split(":")[0].split(" ")[0].upper()
            if verb in self.answers:
                talk.say(self.answers[verb].replace("{line}", line))
            else:
                getattr(talk, {"mail": "mail_from"}.get(verb.lower(), verb.lower()))(line)

    def secure(self, client: socket.socket) -> socket.socket:
        """Speak TLS from here on."""
        assert self.context is not None
        wrapped = self.context.wrap_socket(client, server_side=True)
        self._open.append(wrapped)
        return wrapped


class _Conversation:
    """One client's; a method for each command."""

    def __init__(self, server: SmtpServer, client: socket.socket) -> None:
        self.server = server
        self.client = client
        self.file = client.makefile("rb")
        self.encrypted = server.implicit
        self.user: str | None = None
        self.mail = Mail("", [], b"", False, None)

    def say(self, text: str) -> None:
        self.client.sendall(text.encode() + b"\r\n")

    def heard(self) -> str:
        line = self.file.readline().decode("latin-1").rstrip("\r\n")
        self.server.lines.append(line)
        return line

    def ehlo(self, _line: str) -> None:
        offers = ["loopback"]
        if self.server.context is not None and not self.encrypted:
            offers.append("STARTTLS")
        if self.server.users:
            offers.append("AUTH PLAIN LOGIN")
        self.say("\r\n".join(f"250{'-' if each != offers[-1] else ' '}{each}" for each in offers))

    def starttls(self, _line: str) -> None:
        self.say("220 go ahead")
        self.client = self.server.secure(self.client)
        self.file, self.encrypted = self.client.makefile("rb"), True

    def auth(self, line: str) -> None:
        _, method, given = line.split(" ")
        if method == "PLAIN":
            _, name, password = base64.b64decode(given).decode().split("\0")
        else:
            self.say("334 UGFzc3dvcmQ6")
            name, password = (base64.b64decode(each).decode() for each in (given, self.heard()))
        self.user = name if self.server.users.get(name) == password else None
        self.say("235 welcome" if self.user else "535 5.7.8 wrong user or password")

    def mail_from(self, line: str) -> None:
        if self.server.users and self.user is None:
            self.say("530 authentication required")
            return
        self.mail = Mail(line.partition("<")[2].partition(">")[0], [], b"", self.encrypted, self.user)
        self.say("250 ok")

    def rcpt(self, line: str) -> None:
        self.mail.to.append(line.partition("<")[2].partition(">")[0])
        self.say("250 ok")

    def data(self, _line: str) -> None:
        self.say("354 go ahead")
        while (part := self.file.readline()) not in (b".\r\n", b""):
            self.mail.raw += part.removeprefix(b".") if part.startswith(b"..") else part
        self.server.mails.append(self.mail)
        if self.server.hangs_up:
            raise ConnectionError
        self.say("250 taken")

    def rset(self, _line: str) -> None:
        self.say("250 ok")

    def quit(self, _line: str) -> None:
        self.say("221 bye")
