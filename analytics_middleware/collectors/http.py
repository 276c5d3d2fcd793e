"""What collectors that send over HTTP have in common: options, the request, and what its answer means."""

import gzip
import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, TypedDict
from urllib.parse import quote

import msgspec

import analytics_middleware
from analytics_middleware.collectors.base import BatchCollector
from analytics_middleware.collectors.fitting import Fit
from analytics_middleware.counters import Counters
from analytics_middleware.errors import ConfigurationError, DeliveryError
from analytics_middleware.event import Event, Identify
from analytics_middleware.outgoing.address import read_url
from analytics_middleware.outgoing.answers import error_for, excerpt
from analytics_middleware.outgoing.secret import Secret, redact
from analytics_middleware.outgoing.tally import Item, deliver
from analytics_middleware.outgoing.transport import Answer, Failure, Outgoing, Transport
from analytics_middleware.properties import Scalar

GZIP_FROM: Final = 1024
"""Bytes of a body below which compression saves nothing worth its time."""

encode = msgspec.json.Encoder().encode


class HTTPOptions(TypedDict, total=False):
    """The options that every HTTP collector has; see `HTTPCollector`."""

    name: str
    timeout: float
    connect_timeout: float
    allow_http: bool
    allow_private: bool
    proxy: str | None
    ca_file: str | None
    properties: Collection[str] | None
    sample: float
    requires_consent: bool
    bots: bool
    max_age: float | None
    retry_ambiguous: bool
    debug_sends: bool


class VendorOptions(HTTPOptions, total=False):
    """The options of collectors whose destination has a host of its own."""

    base_url: str | None


class HTTPCollector(BatchCollector):
    """A collector that sends over HTTP: define ``send(events)`` with `post`.

    Options of all of them:

    - *base_url*: another host than the vendor's. It must be https (*allow_http* permits http) and its addresses
      public ones (*allow_private* permits others, such as a container's or localhost).
    - *timeout*, *connect_timeout*: seconds for a whole request, and of these for the connection.
    - *proxy*: URL of an HTTP proxy; those of the environment are not used. *ca_file*: certificates to trust instead
      of the system's.
    - *properties*: names of the properties that may be sent; None is all, ``()`` none.
    - *sample*: share of visitors whose events are sent, 0 to 1, the same visitors every time. Events then carry the
      property ``sample_rate``.
    - *requires_consent*: only events of visitors who consented. *bots*: bots' page views too.
    - *max_age*: seconds after which an event is not sent any more.
    - *retry_ambiguous*: send again what may have arrived, although the destination may count it twice.
    - *debug_sends*: send although the application is in debug.

    Raises `ConfigurationError` for an option that is wrong.
    """

    default_url: str = ""
    url_option: str = "base_url"
    compresses: bool = False
    """Whether the destination takes gzip."""

    def __init__(
        self,
        *,
        name: str = "",
        base_url: str | None = None,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        allow_http: bool = False,
        allow_private: bool = False,
        proxy: str | None = None,
        ca_file: str | None = None,
        properties: Collection[str] | None = None,
        sample: float = 1.0,
        requires_consent: bool | None = None,
        bots: bool | None = None,
        max_age: float | None = None,
        retry_ambiguous: bool | None = None,
        debug_sends: bool = False,
    ) -> None:
        super().__init__()
        self.name = name or self.name
        self.debug_sends = debug_sends
        self.requires_consent = self.requires_consent if requires_consent is None else requires_consent
        self.bots = self.bots if bots is None else bots
        self.max_age = self.max_age if max_age is None else _positive("max_age", max_age)
        self.dedupes = self.dedupes if retry_ambiguous is None else retry_ambiguous
        self.cut = Counters()
        """How often what was cut to fit the destination; see the collector for the names."""
        self.last_answer: Answer | None = None
        """What the destination said last."""
        self.fit = Fit(self.cut)
        self._allowed = None if properties is None else frozenset(_names("properties", properties))
        self._sample = _share(sample)
        self._secrets: tuple[Secret, ...] = ()
        # A vendor's own host is not somebody's to choose, and may well be reached through a private link.
        self.endpoint = read_url(
            self.url_option, base_url or self.default_url, allow_http=allow_http, allow_private=allow_private
        )
        self._transport = Transport(
            self.endpoint,
            timeout=_positive("timeout", timeout),
            connect_timeout=_positive("connect_timeout", connect_timeout),
            allow_private=allow_private or base_url is None,
            proxy=None if proxy is None else read_url("proxy", proxy, allow_http=True, allow_private=True),
            ca_file=ca_file,
        )

    def secret(self, option: str, value: str | Secret | None, form: str = "") -> Secret:
        """Return the secret *value* of *option*, to be masked wherever it might show.

        Raises `ConfigurationError`, which doesn't repeat it, when it is missing or has characters no key has.
        """
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"{type(self).__name__}: {option} is missing" + (f"; {form}" if form else ""))
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ConfigurationError(f"{type(self).__name__}: {option} has spaces or characters that no key has")
        kept = Secret(text)
        self._secrets += (kept,)
        return kept

    def declines(self, event: Event) -> str | None:
        """Return "sampled" for the events of visitors who are not in the sample."""
        return None if self._sample >= 1.0 or _in_sample(event, self._sample) else "sampled"

    def properties_of(self, event: Event) -> dict[str, Scalar]:
        """Return the event's properties that may be sent."""
        properties = event.properties
        if self._allowed is not None:
            properties = {key: value for key, value in properties.items() if key in self._allowed}
        return properties if self._sample >= 1.0 else {**properties, "sample_rate": self._sample}

    def deliver(
        self, items: Sequence[Item], chunks: Sequence[Sequence[Any]], send: Callable[[Sequence[Any]], object]
    ) -> None:
        """Send *items* in *chunks*, one request each; see `outgoing.tally.deliver`."""
        deliver(items, chunks, send)

    def post(
        self,
        path: str,
        body: bytes,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        query: str = "",
        content_type: str = "application/json",
        expected: Collection[int] = (),
    ) -> Answer:
        """Post *body* and return the answer when it is a success, or one of the *expected* statuses.

        Raises `DeliveryError` for any other, see `outgoing.answers.error_for`, and when there is none.
        """
        request = self._outgoing(path, body, headers, query, content_type)
        # Whatever is raised from here has this frame in its traceback: it must hold nothing that tells.
        del body, headers, query, path
        answer = self._transport.exchange(request)
        if isinstance(answer, Failure):
            raise DeliveryError(self._masked(f"{self.endpoint.origin}: {answer.text}"), ambiguous=answer.sent)
        self.last_answer = answer
        if answer.status not in expected:
            error = error_for(answer, self.endpoint.origin)
            if error is not None:
                error.args = (self._masked(str(error)),)
                raise error
        return answer

    @property
    def reported(self) -> str:
        """What the destination said last, for people to read."""
        answer = self.last_answer
        if answer is None:
            return "no answer"
        return self._masked(f"{answer.status} {excerpt(answer)}".strip())

    def close(self) -> None:
        """Close connections."""
        self._transport.close()

    def _outgoing(
        self, path: str, body: bytes, headers: Mapping[str, str | Secret] | None, query: str, content_type: str
    ) -> Outgoing:
        sent = {
            "User-Agent": f"analytics-middleware/{analytics_middleware.__version__}",
            "Accept": "application/json",
            "Content-Type": content_type,
        }
        for name, value in (headers or {}).items():
            sent[name] = value.reveal() if isinstance(value, Secret) else value
        if self.compresses and len(body) >= GZIP_FROM:
            body = compressed(body)
            sent["Content-Encoding"] = "gzip"
        base = self.endpoint.path
        target = quote(base.rstrip("/") + path if path else base, safe="/!$&'()*+,;=:@%~") or "/"
        query = "&".join(part for part in (self.endpoint.query, query) if part)
        return Outgoing("POST", f"{target}?{query}" if query else target, sent, body)

    def _masked(self, text: str) -> str:
        return redact(text, self._secrets)


class IdentifyingCollector(HTTPCollector):
    """An HTTP collector whose destination knows users: ``send`` is given `Identify` records among the events."""

    def send(self, events: Sequence[Any]) -> None:
        """Deliver events and `Identify` records; to be overridden."""
        raise TypeError(f"{type(self).__name__} must define send(events)")

    def identify(self, user_id: str, traits: Mapping[str, Scalar]) -> None:
        """Keep *traits* of *user_id* for the next `flush`."""
        self.take_identify(Identify(user_id=user_id, traits=dict(traits)))

    def take_identify(self, record: Identify) -> None:
        """Keep *record* for the next `flush`."""
        batch: list[Any] = self._batch
        batch.append(record)

    def traits_of(self, record: Identify) -> dict[str, Scalar]:
        """Return the traits that may be sent."""
        if self._allowed is None:
            return record.traits
        return {key: value for key, value in record.traits.items() if key in self._allowed}


def compressed(body: bytes) -> bytes:
    """Return *body* as gzip, with no time in it: a retry sends the same bytes."""
    return gzip.compress(body, 5, mtime=0)


def chunked(
    items: Sequence[Item], parts: Sequence[bytes], max_count: int, max_bytes: int, envelope: int = 0
) -> list[list[tuple[Any, bytes]]]:
    """Return *items* with their encoded *parts* in runs of at most *max_count* and *max_bytes*.

    A part is counted with a comma; *envelope* is what surrounds them. One that is too large alone stands alone: the
    destination says what it thinks of it.
    """
    chunks: list[list[tuple[Any, bytes]]] = []
    size = 0
    for item, part in zip(items, parts, strict=True):
        if not chunks or len(chunks[-1]) >= max_count or size + len(part) + 1 > max_bytes:
            chunks.append([])
            size = envelope
        chunks[-1].append((item, part))
        size += len(part) + 1
    return chunks


def missing(collector: object, option: str, value: object, form: str) -> ConfigurationError:
    """Return the error for an option that is missing or malformed; *form* says what would be right."""
    what = "is missing" if value in (None, "") else f"is {value!r}"
    return ConfigurationError(f"{type(collector).__name__}: {option} {what}; it must be {form}")


def _in_sample(event: Event, share: float) -> bool:
    # The visitor's own id first: it stays the same when they log in.
    visitor = event.anon_id or event.user_id or event.event_id
    digest = hashlib.blake2b(visitor.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def _positive(option: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigurationError(f"{option} is {value!r}; it must be a number of seconds above 0")
    return float(value)


def _share(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"sample is {value!r}; it must be a share of visitors from 0 to 1")
    return float(value)


def _names(option: str, value: Collection[str]) -> Collection[str]:
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{option} is {value!r}; it must be a collection of property names")
    return value
