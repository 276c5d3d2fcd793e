"""E-mail: the server in the setting `mail`, and messages with text and HTML (RFC 5322, RFC 2046)."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from analytics_middleware.errors import AnalyticsError, ConfigurationError
from analytics_middleware.outgoing.secret import MASK, Secret, redact
from analytics_middleware.setting_shapes import is_async

if TYPE_CHECKING:
    from analytics_middleware.reports.message import Message

Hook = Callable[[str, str, str, str], object]
"""A function ``(to, subject, text, html)`` that sends by other means. It raises an exception if it can't."""

# RFC 5321 section 4.1.2 without quoted local parts and address literals, which real mailboxes don't have.
_ADDRESS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_PORTS: Final = {"starttls": 587, "implicit": 465, "none": 25}
_SAID: Final = 200


class SendError(AnalyticsError):
    """A message could not be sent; the error says to whom and why.

    *ambiguous* says that it may have arrived nevertheless, because the server did not answer after it was transmitted.
    """

    def __init__(self, message: str, *, ambiguous: bool = False) -> None:
        super().__init__(message)
        self.ambiguous = ambiguous


class _Unanswered(Exception):  # noqa: N818 - not known to be an error
    """A mail server did not answer to a message; the text says what happened instead."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """An SMTP server that sends messages."""

    host: str
    port: int
    sender: str
    user: str | None = None
    password: Secret | None = None
    tls: str = "starttls"
    """``"starttls"``, ``"implicit"`` (from the first byte, port 465) or ``"none"``, which allows no password."""
    ca_file: str | None = None
    """Certificates to trust instead of the system's."""
    timeout: float = 15.0
    """Seconds for each step of the SMTP dialogue."""

    def send(self, to: str, message: "Message") -> None:
        """Send *message* to one address. Raises `SendError`, which holds no secret."""
        said, ambiguous = self._failure(to, message)
        if said is not None:
            # Raised outside of an except block, because the frames of the caught exception contain the password.
            raise SendError(f"{to} through {self.host}:{self.port}: {said}", ambiguous=ambiguous)

    def _failure(self, to: str, message: "Message") -> tuple[str | None, bool]:
        """Send *message*. Return why it could not be sent, without secrets, and whether it may have been sent."""
        import smtplib

        try:
            self._deliver(to, message)
        except _Unanswered as error:
            return self._clean(str(error)), True
        except smtplib.SMTPResponseException as error:
            text = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else ""
            return self._clean(f"{error.smtp_code} {text}"), False
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients.values()
            lines = (f"{code} {text.decode('utf-8', 'replace')}" for code, text in refused)
            return self._clean("; ".join(lines)), False
        except (smtplib.SMTPException, OSError) as error:
            return self._clean(str(error) or type(error).__name__), False
        return None, False

    def _deliver(self, to: str, message: "Message") -> None:
        import smtplib
        import ssl

        content = compose(self.sender, to, message)
        context = None if self.tls == "none" else ssl.create_default_context(cafile=self.ca_file)
        if context is not None and self.tls == "implicit":
            client: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
        else:
            client = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        handing = taken = False
        try:
            with client:
                if context is not None and self.tls == "starttls":
                    client.starttls(context=context)
                if self.user is not None and self.password is not None:
                    client.login(self.user, self.password.reveal())
                handing = True
                client.send_message(content)
                taken = True
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused):
            # Once the server has accepted the message, a failure to say goodbye changes nothing.
            if not taken:
                raise
        except (smtplib.SMTPException, OSError) as error:
            if handing and not taken:
                raise _Unanswered(str(error) or type(error).__name__) from None
            if not taken:
                raise

    def _clean(self, said: str) -> str:
        if self.password is not None:
            said = redact(said, (self.password, *_encoded(self.user or "", self.password)))
        return "".join(char if char.isprintable() else " " for char in said)[:_SAID]


Mail = MailServer | Hook


def compose(sender: str, to: str, message: "Message") -> Any:
    """Return *message* as an `email.message.EmailMessage`, which refuses line breaks in headers.

    The class decodes whatever looks like an encoded word (RFC 2047), so such text is changed first.
    """
    from email.message import EmailMessage
    from email.policy import SMTP
    from email.utils import formatdate, make_msgid

    made = EmailMessage(policy=SMTP)
    made["From"] = unencoded(sender)
    made["To"] = to
    made["Subject"] = unencoded(message.subject)
    made["Date"] = formatdate(usegmt=True)
    made["Message-ID"] = make_msgid(domain=_address_in(sender).rpartition("@")[2])
    # RFC 3834 section 5: keeps out-of-office replies from coming back.
    made["Auto-Submitted"] = "auto-generated"
    made.set_content(message.text)
    made.add_alternative(message.html, subtype="html")
    return made


def unencoded(text: str) -> str:
    """Return *text* without anything like an encoded word, which when decoded could add line breaks and headers."""
    return text.replace("=?", "= ?")


def is_address(text: str) -> bool:
    """Return whether *text* is an address such as ``ops@shop.example``."""
    return len(text) <= 254 and "=?" not in text and _ADDRESS.fullmatch(text) is not None


def read_mail(key: str, value: object) -> Mail | None:
    """Return how the setting *key* says to send e-mail. Raises `ConfigurationError`, which repeats no password."""
    if value is None or isinstance(value, MailServer):
        return value
    if not isinstance(value, Mapping):
        if callable(value) and not is_async(value):
            return cast("Hook", value)
        raise _wrong(key, "a dict with 'host' and 'sender', a callable (to, subject, text, html), not async, or None")
    given: dict[str, Any] = {str(name).lower(): each for name, each in cast("Mapping[Any, Any]", value).items()}
    known = {field.name for field in dataclasses.fields(MailServer)}
    if unknown := sorted(given.keys() - known):
        raise _wrong(key, f"a dict of {', '.join(sorted(known))}; there is no {unknown[0]!r}")
    tls = given.setdefault("tls", "starttls")
    if tls not in _PORTS:
        raise _wrong(key, f"a dict whose 'tls' is one of {', '.join(map(repr, _PORTS))}, not {tls!r}")
    given.setdefault("port", _PORTS[tls])
    for name, holds, right in (
        ("host", _is_host, "a host's name"),
        ("port", _is_port, "a number from 1 to 65535"),
        ("sender", _is_sender, "an address such as 'analytics@shop.example' or 'Shop <analytics@shop.example>'"),
        ("user", _is_ascii, "printable ASCII text"),
        ("ca_file", _is_text, "a file's path"),
        ("timeout", _is_seconds, "a number of seconds above 0"),
    ):
        if (name in given or name in ("host", "sender")) and not holds(given.get(name)):
            raise _wrong(key, f"a dict whose {name!r} is {right}, not {given.get(name)!r:.100}")
    password = given.get("password")
    if password is not None and not isinstance(password, Secret):
        # smtplib supports only ASCII in a login.
        if not isinstance(password, str) or not password or not (password.isascii() and password.isprintable()):
            raise _wrong(key, "a dict whose 'password' is printable ASCII text")
        given["password"] = Secret(password)
    if (given.get("user") is None) != (given.get("password") is None):
        raise _wrong(key, "a dict with both 'user' and 'password', or neither")
    if tls == "none" and given.get("password") is not None:
        raise _wrong(key, "a dict with another 'tls' than 'none': the password would travel in the clear")
    return MailServer(**given)


def _wrong(key: str, right: str) -> ConfigurationError:
    return ConfigurationError(f"analytics setting {key!r} is {MASK}; it must be {right}")


def _is_text(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.isprintable() and bool(value))


def _is_ascii(value: object) -> bool:
    return value is None or (_is_text(value) and str(value).isascii())


def _is_host(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._:-]{1,253}", value) is not None


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 3600


def _is_sender(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and is_address(_address_in(value))


def _address_in(sender: str) -> str:
    """Return the address in ``Name <address>``."""
    from email.utils import parseaddr

    return parseaddr(sender)[1]


def _encoded(user: str, password: Secret) -> tuple[Secret, ...]:
    """Return the password as AUTH PLAIN and LOGIN (RFC 4616) encode it, to mask it if a server repeats it."""
    from base64 import b64encode

    plain = password.reveal()
    return tuple(Secret(b64encode(text.encode()).decode()) for text in (f"\0{user}\0{plain}", plain))
