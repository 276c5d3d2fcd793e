"""Where reports and alerts are sent: to mailboxes, and to webhooks in the same way as events."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from analytics_middleware.collectors.webhook import WebhookCollector
from analytics_middleware.errors import ConfigurationError, DeliveryError
from analytics_middleware.outgoing.secret import MASK, Secret
from analytics_middleware.reports.mail import Mail, MailServer, SendError, is_address, unencoded

if TYPE_CHECKING:
    from analytics_middleware.reports.message import Message


class Destination(Protocol):
    """Where a message can be sent."""

    by_mail: bool
    """Whether it needs the setting `mail`."""

    @property
    def id(self) -> str:
        """A name that is unique, the same in every process, and contains no secret."""
        ...

    def send(self, message: "Message", mail: Mail | None) -> None:
        """Send *message*. Raises `SendError`."""
        ...


class Mailbox:
    """An e-mail address."""

    by_mail = True

    def __init__(self, address: str) -> None:
        self.id = address

    def __repr__(self) -> str:
        return f"<Mailbox {self.id}>"

    def send(self, message: "Message", mail: Mail | None) -> None:
        """Send *message* by *mail*. Raises `SendError`."""
        if mail is None:
            raise SendError(f"{self.id}: the setting 'mail' does not say through which server")
        if isinstance(mail, MailServer):
            mail.send(self.id, message)
            return
        failed = None
        try:
            mail(self.id, unencoded(message.subject), message.text, message.html)
        except Exception as error:  # noqa: BLE001 - somebody else's code; that it failed is what counts
            # The error's text may contain secrets of the user's function.
            failed = type(error).__name__
        if failed is not None:
            # The user's function may have sent the message before it failed.
            raise SendError(f"{self.id}: sending failed with {failed}", ambiguous=True)


class Webhook:
    """A URL that takes JSON; *options* are those of `WebhookCollector`."""

    by_mail = False

    def __init__(self, url: str, **options: Any) -> None:
        self._collector = WebhookCollector(url, **options)
        # The URL's path is often a secret, as headers and secrets are, so the id has only a digest of them. Headers are
        # part of it because two webhooks may differ in nothing else: a header may name a channel, for example.
        digest = hashlib.sha256("\n".join([url, *_hidden(**options)]).encode()).hexdigest()[:12]
        self.id = f"{self._collector.endpoint.origin} ({digest})"

    def __repr__(self) -> str:
        return f"<Webhook {self.id}>"

    def send(self, message: "Message", mail: Mail | None) -> None:
        """Post *message*. Raises `SendError`."""
        failed, ambiguous = None, False
        try:
            self._collector.post_signed(message.id, message.json())
        except DeliveryError as error:
            failed, ambiguous = str(error), error.ambiguous
        finally:
            self._collector.close()
        if failed is not None:
            raise SendError(failed, ambiguous=ambiguous)


def read_destinations(what: str, value: object) -> tuple[Destination, ...]:
    """Return the destinations that *value* lists: addresses, https URLs, or dicts with ``url`` and its options.

    Raises `ConfigurationError`, which names *what* but repeats no URL, since its path is often a secret.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise ConfigurationError(f"{what} is {MASK}; it must be a list of e-mail addresses and webhooks' URLs")
    return tuple(read_destination(what, each) for each in cast("Sequence[Any]", value))


def read_destination(what: str, value: Any) -> Destination:
    """Return the destination that *value* names. Raises `ConfigurationError` as `read_destinations` does."""
    if isinstance(value, (Mailbox, Webhook)):
        return value
    right = "an e-mail address, a webhook's https URL, or a dict with 'url' and its options"
    if isinstance(value, str) and "://" not in value:
        if not is_address(value):
            raise ConfigurationError(f"{what} is {MASK}; it must be {right}; {value!r:.100} is none")
        return Mailbox(value)
    options: Any = {"url": value} if isinstance(value, str) else value
    if not isinstance(options, Mapping) or "url" not in options:
        raise ConfigurationError(f"{what} is {MASK}; it must be {right}")
    try:
        return Webhook(**{str(name): each for name, each in cast("Mapping[Any, Any]", options).items()})
    except TypeError as error:
        # An unknown option. The message has its name but not its value.
        problem = str(error).rpartition("() ")[2]
    except ConfigurationError as error:
        problem = str(error)
    raise ConfigurationError(f"{what} is {MASK}; it must be {right}: {problem}")


def _hidden(headers: Any = None, secret: Any = None, **_others: Any) -> list[str]:
    """Return each of *headers* and each *secret*, which `WebhookCollector` has checked, as a text."""
    given = cast("Mapping[str, str]", headers or {})
    secrets = [secret] if isinstance(secret, (str, Secret)) else cast("Sequence[str | Secret]", secret or ())
    return [
        *sorted(f"header {name.lower()}: {value}" for name, value in given.items()),
        *(f"secret {each.reveal() if isinstance(each, Secret) else each}" for each in secrets),
    ]
