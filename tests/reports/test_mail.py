"""E-mail, to a real server on loopback: TLS, passwords, refusals, and headers that nobody can add to."""

import io
import logging
import ssl
import traceback
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from smtp_server import HOST, TLS, SmtpServer

from analytics_middleware import ConfigurationError, Settings
from analytics_middleware.reports.destinations import Mailbox, read_destination
from analytics_middleware.reports.mail import MailServer, SendError, is_address, read_mail
from analytics_middleware.reports.message import Message, one_line

PASSWORD = "pass-canary-Zk3w/+ &x"
MESSAGE = Message(
    id="rpt_1",
    kind="analytics.report",
    subject="Shop: 9 Nov – 15 Nov",
    text="Visitors 3\n.\nend\n",
    html="<p>Visitors <b>3</b></p>",
    data={"visitors": 3},
)


def server_of(smtp: SmtpServer, **more: Any) -> MailServer:
    made = read_mail("mail", {"host": HOST, "port": smtp.port, "sender": "Shop ☕ <stats@shop.example>", **more})
    assert isinstance(made, MailServer)
    return made


SIGNED_IN = {"user": "stats", "password": PASSWORD, "ca_file": str(TLS / "ca.pem")}


def test_it_arrives_as_text_and_html_over_starttls_from_a_user_who_signed_in(
    smtp: Callable[..., SmtpServer], context: ssl.SSLContext
) -> None:
    server = smtp(context=context, users={"stats": PASSWORD})
    Mailbox("ops@shop.example").send(MESSAGE, server_of(server, **SIGNED_IN))
    [mail] = server.mails
    assert (mail.sender, mail.to, mail.encrypted, mail.user) == (
        "stats@shop.example",
        ["ops@shop.example"],
        True,
        "stats",
    )
    assert mail.message["subject"] == MESSAGE.subject
    assert mail.message["from"] == "Shop ☕ <stats@shop.example>"
    assert mail.message["auto-submitted"] == "auto-generated"
    assert mail.part("plain").splitlines() == MESSAGE.text.splitlines()
    assert mail.part("html").strip() == MESSAGE.html
    assert "AUTH" not in "".join(server.lines[: server.lines.index("STARTTLS")])


def test_it_arrives_over_implicit_tls(smtp: Callable[..., SmtpServer], context: ssl.SSLContext) -> None:
    server = smtp(context=context, implicit=True, users={"stats": PASSWORD})
    server_of(server, tls="implicit", **SIGNED_IN).send("ops@shop.example", MESSAGE)
    assert [(mail.encrypted, mail.user) for mail in server.mails] == [(True, "stats")]


def test_without_tls_only_when_told_and_never_with_a_password(smtp: Callable[..., SmtpServer]) -> None:
    server = smtp()
    server_of(server, tls="none").send("ops@shop.example", MESSAGE)
    assert [mail.encrypted for mail in server.mails] == [False]
    with pytest.raises(ConfigurationError, match="in the clear"):
        server_of(server, tls="none", user="stats", password=PASSWORD)


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({}, {}, "STARTTLS"),
        ({"context": True}, {"ca_file": None}, "certificate"),
        ({"context": True}, {"host": "other.example"}, "certificate"),
    ],
    ids=["no TLS", "authority", "name"],
)
def test_a_server_that_can_not_be_trusted_is_given_nothing(
    smtp: Callable[..., SmtpServer], context: ssl.SSLContext, options: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    server = smtp(**{"context": context} if options else {}, users={"stats": PASSWORD})
    with pytest.raises(SendError, match=said):
        server_of(server, **{**SIGNED_IN, **more}).send("ops@shop.example", MESSAGE)
    assert server.mails == []
    assert not any(line.startswith("AUTH") for line in server.lines)


@pytest.mark.parametrize("farewell", ["421 closing", "250 ok", "what?"])
def test_a_message_that_was_taken_is_sent_however_the_server_says_goodbye(
    farewell: str, smtp: Callable[..., SmtpServer]
) -> None:
    server = smtp(answers={"QUIT": farewell})
    server_of(server, tls="none").send("ops@shop.example", MESSAGE)
    assert len(server.mails) == 1


def test_a_message_to_which_nobody_answered_may_have_arrived(smtp: Callable[..., SmtpServer]) -> None:
    for options, arrived in (
        ({"hangs_up": True}, True),
        ({"answers": {"RCPT": "550 no"}}, False),
        ({"silent": True}, False),
    ):
        server = smtp(**options)
        with pytest.raises(SendError) as caught:
            server_of(server, tls="none", timeout=0.5 if server.silent else 15).send("ops@shop.example", MESSAGE)
        assert (caught.value.ambiguous, len(server.mails)) == (arrived, arrived)


TROUBLE: dict[str, dict[str, Any]] = {
    "echoed": {"answers": {"AUTH": "535 you said {line} and " + PASSWORD}},
    "wrong password": {"users": {"stats": "another"}},
    "refused": {"answers": {"RCPT": "550 no such user"}},
    "later": {"answers": {"DATA": "451 come back later"}},
    "hung up": {"answers": {"MAIL": "421 closing"}},
    "silent": {"silent": True},
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_trouble_is_told_in_one_line_that_holds_no_password(
    trouble: str, smtp: Callable[..., SmtpServer], context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    server = smtp(**{"context": context, "users": {"stats": PASSWORD}, **TROUBLE[trouble]})
    mail = server_of(server, **{**SIGNED_IN, "timeout": 0.5})
    with caplog.at_level(logging.DEBUG), pytest.raises(SendError) as caught:
        mail.send("ops@shop.example", MESSAGE)
    logging.getLogger("analytics_middleware").error("it failed", exc_info=caught.value)
    error = caught.value
    shown = io.StringIO()
    shown.write(f"{error!r} {error} {mail!r} {vars(error)!r} {caplog.text}")
    traceback.print_exception(error, file=shown)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if "analytics_middleware" in frame.f_code.co_filename:
            shown.write(repr(frame.f_locals))
    assert error.__cause__ is None
    assert error.__context__ is None
    assert str(error).startswith(f"ops@shop.example through {HOST}:")
    assert "\n" not in str(error)
    forms = [PASSWORD, *(b64encode(text.encode()).decode() for text in (PASSWORD, f"\0stats\0{PASSWORD}"))]
    assert [form for form in forms if form in shown.getvalue()] == []
    assert server.mails == []


@pytest.mark.parametrize("hostile", ["a\r\nBcc: evil@evil.example", "a\nBcc: x", "a\0b", "x\u2028Bcc: y", "\u202eabc"])
def test_a_subject_is_one_line_whatever_it_is_made_of(
    hostile: str, smtp: Callable[..., SmtpServer], context: ssl.SSLContext
) -> None:
    server = smtp(context=context)
    message = Message(id="1", kind="k", subject=one_line(hostile), text=hostile, html="", data=None)
    server_of(server, ca_file=str(TLS / "ca.pem")).send("ops@shop.example", message)
    [mail] = server.mails
    assert set(mail.message.keys()) == {
        *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type")
    }
    assert mail.to == ["ops@shop.example"]
    assert mail.message["subject"].isprintable()


ENCODED = [
    "=?utf-8?q?x=0d=0aBcc:_evil@x.example?=",
    "==?utf-8?b?eA0KQmNjOiBldmlsQHguZXhhbXBsZQ==?= ☕",
    "a=?utf-8?q?=0A?=",
]


@pytest.mark.parametrize("hostile", ENCODED)
def test_what_looks_like_an_encoded_word_is_not_decoded(hostile: str, smtp: Callable[..., SmtpServer]) -> None:
    server, handed = smtp(), list[str]()
    message = Message(id="1", kind="k", subject=one_line(hostile), text="", html="", data=None)
    sender = "=?utf-8?q?Shop=0aBcc?= <stats@shop.example>"
    server_of(server, tls="none", sender=sender).send("a@b.example", message)
    Mailbox("a@b.example").send(message, lambda _to, subject, *_rest: handed.append(subject))
    [mail] = server.mails
    shown = hostile.replace("=?", "= ?")
    assert mail.message["subject"] == shown
    assert handed == [shown]
    assert mail.message["from"] == "= ?utf-8?q?Shop=0aBcc?= <stats@shop.example>"
    assert mail.message["bcc"] is None
    assert mail.to == ["a@b.example"]


@pytest.mark.parametrize("text", ["a@b", "a.b+c@shop.example", "x" * 64 + "@shop.example"])
def test_addresses_are_recognised(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "@b",
        "a@",
        "a b@c.d",
        "a@b\r\nBcc: c@d",
        "a@b\n",
        "a@b, c@d",
        "<a@b>",
        "a@b..c",
        "ä@b.c",
        "x" * 65 + "@b",
        "=?utf-8?q?x=0d=0a?=@b.c",
    ],
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert not is_address(text)
    with pytest.raises(ConfigurationError, match=r"--send-to is .* e-mail address"):
        read_destination("--send-to", text)


def test_a_callable_sends_by_other_means_and_its_failure_is_told_without_its_words() -> None:
    sent: list[tuple[str, ...]] = []
    Mailbox("ops@shop.example").send(MESSAGE, lambda *words: sent.append(words))
    assert sent == [("ops@shop.example", MESSAGE.subject, MESSAGE.text, MESSAGE.html)]

    def fail(*_words: str) -> None:
        raise RuntimeError(PASSWORD)

    with pytest.raises(SendError, match=r"ops@shop\.example: sending failed with RuntimeError$") as caught:
        Mailbox("ops@shop.example").send(MESSAGE, fail)
    assert caught.value.__context__ is None


def test_without_a_server_that_is_said() -> None:
    with pytest.raises(SendError, match="setting 'mail'"):
        Mailbox("ops@shop.example").send(MESSAGE, None)


WRONG: dict[str, Any] = {
    "no dict": "smtp.example",
    "no host": {"sender": "a@b.example"},
    "no sender": {"host": "smtp.example"},
    "a host with a line break": {"host": "smtp\r\nx", "sender": "a@b.example"},
    "a sender with a line break": {"host": "smtp.example", "sender": "a@b.example\r\nBcc: c@d"},
    "a port": {"host": "smtp.example", "sender": "a@b.example", "port": "587"},
    "tls": {"host": "smtp.example", "sender": "a@b.example", "tls": "tls1.3"},
    "a time": {"host": "smtp.example", "sender": "a@b.example", "timeout": 0},
    "half a login": {"host": "smtp.example", "sender": "a@b.example", "password": PASSWORD},
    "a password that is none": {"host": "smtp.example", "sender": "a@b.example", "user": "u", "password": b"x"},
    "a password that can't be sent": {"host": "smtp.example", "sender": "a@b.example", "user": "u", "password": "ä"},
    "an unknown key": {"host": "smtp.example", "sender": "a@b.example", "passwort": PASSWORD},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_a_wrong_mail_setting_is_named_without_its_password(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"'mail' is \*\*\*; it must be a dict") as caught:
        Settings(mail=value)
    assert PASSWORD not in str(caught.value)


def test_the_password_is_in_no_repr_of_the_settings() -> None:
    given = {"HOST": "smtp.example", "sender": "a@b.example", "user": "u", "password": PASSWORD}
    settings = Settings(mail=given)
    assert PASSWORD not in repr(settings)
    assert settings.mail.port == 587
    assert Settings(mail=settings.mail).mail is settings.mail
