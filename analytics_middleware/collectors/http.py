"""The base of collectors that send over HTTP: options, the request, and what its answer means."""

import gzip
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec

import analytics_middleware
from analytics_middleware.collectors.base import BatchCollector
from analytics_middleware.collectors.fitting import Fit
from analytics_middleware.collectors.options import (
    HTTPOptions,
    VendorOptions,
    checked_headers,
    in_sample,
    missing,
    names,
    positive,
    share,
)
from analytics_middleware.counters import Counters
from analytics_middleware.errors import ConfigurationError, DeliveryError
from analytics_middleware.event import Event, Identify
from analytics_middleware.outgoing.address import read_url
from analytics_middleware.outgoing.answers import error_for, excerpt
from analytics_middleware.outgoing.secret import Secret, redact
from analytics_middleware.outgoing.tally import Item, attempt, deliver, is_down, one_by_one
from analytics_middleware.outgoing.transport import Answer, Failure, Outgoing, Transport
from analytics_middleware.outgoing.workers import Workers
from analytics_middleware.properties import Scalar

__all__ = [
    "GZIP_FROM",
    "HTTPCollector",
    "HTTPOptions",
    "IdentifyingCollector",
    "VendorOptions",
    "chunked",
    "compressed",
    "encode",
    "missing",
]

GZIP_FROM: Final = 1024
"""Bytes of a body below which compression is not worth its time."""

encode = msgspec.json.Encoder(decimal_format="number").encode


class HTTPCollector(BatchCollector):
    """A collector that sends over HTTP. Subclasses define ``send(events)`` and call `post` in it.

    Options that all of them have:

    - *base_url*: another host than the vendor's. The URL must be https (*allow_http* permits http) and lead to public
      addresses (*allow_private* permits others, such as a container's or localhost).
    - *region*: which of the vendor's `hosts` to use, where it has several.
    - *timeout*: seconds for a whole request; *connect_timeout*: seconds of these for the connection.
    - *proxy*: URL of an HTTP proxy; proxies set in the environment are not used. *ca_file*: certificates to trust
      instead of the system's.
    - *properties*: names of the properties that may be sent; None for all, ``()`` for none.
    - *sample*: share of visitors whose events are sent, 0 to 1; always the same visitors. Events then carry the
      property ``sample_rate``.
    - *client_ip*: False withholds the client's address from a destination that takes it.
    - *requires_consent*: send only events of visitors who consented. *bots*: send bots' page views too.
    - *max_age*: age in seconds above which an event is no longer sent.
    - *retry_ambiguous*: send again what may have arrived, although the destination may count it twice.
    - *debug_sends*: send even though the application is in debug.

    Raises `ConfigurationError` for an option that is wrong.
    """

    default_url: str = ""
    hosts: Mapping[str, str] = {}
    """The vendor's URLs by region, if it has several."""
    url_option: str = "base_url"
    compresses: bool = False
    """Whether the destination takes gzip."""
    concurrency: int = 1
    """How many requests run at the same time, for destinations that need many of them."""

    def __init__(
        self,
        *,
        name: str = "",
        region: str | None = None,
        base_url: str | None = None,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        allow_http: bool = False,
        allow_private: bool = False,
        proxy: str | None = None,
        ca_file: str | None = None,
        properties: Collection[str] | None = None,
        sample: float = 1.0,
        client_ip: bool = True,
        requires_consent: bool | None = None,
        bots: bool | None = None,
        max_age: float | None = None,
        retry_ambiguous: bool | None = None,
        debug_sends: bool = False,
    ) -> None:
        super().__init__()
        if region is not None and region not in self.hosts:
            raise missing(self, "region", region, " or ".join(map(repr, self.hosts)) or "left out")
        url = base_url or (self.default_url if region is None else self.hosts[region])
        self.name = name or self.name
        self.debug_sends = debug_sends
        if not client_ip:
            self.needs = tuple(need for need in self.needs if need != "client_ip")
        self.requires_consent = self.requires_consent if requires_consent is None else requires_consent
        self.bots = self.bots if bots is None else bots
        self.max_age = self.max_age if max_age is None else positive("max_age", max_age)
        self.dedupes = self.dedupes if retry_ambiguous is None else retry_ambiguous
        self.cut = Counters()
        """What was cut to fit the destination, and how often; each collector's docstring has the names."""
        self.last_answer: Answer | None = None
        """The destination's last answer."""
        self.fit = Fit(self.cut)
        self._allowed = None if properties is None else frozenset(names("properties", properties))
        self._sample = share(sample)
        self._secrets: tuple[Secret, ...] = ()
        self._workers: Workers | None = None
        # The vendor's own host is no user input and may be reached through a private link, so _transport below
        # allows private addresses for it.
        self.endpoint = read_url(self.url_option, url, allow_http=allow_http, allow_private=allow_private)
        # The path of a vendor's own URL is no secret; that of a webhook often is.
        self._places = () if base_url is None else self.endpoint.secrets()
        self._transport = Transport(
            self.endpoint,
            timeout=positive("timeout", timeout),
            connect_timeout=positive("connect_timeout", connect_timeout),
            allow_private=allow_private or base_url is None,
            proxy=None if proxy is None else read_url("proxy", proxy, allow_http=True, allow_private=True),
            ca_file=ca_file,
        )

    def secret(self, option: str, value: str | Secret | None, form: str = "") -> Secret:
        """Return *value* of *option* as a secret, which is masked wherever it might show.

        Raises `ConfigurationError`, which doesn't repeat the value, if it is missing or has characters that no key has.
        """
        text = value.reveal() if isinstance(value, Secret) else value
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"{type(self).__name__}: {option} is missing" + (f"; {form}" if form else ""))
        if not (text.isascii() and text.isprintable()) or " " in text:
            raise ConfigurationError(f"{type(self).__name__}: {option} has spaces or characters that no key has")
        kept = Secret(text)
        self._secrets += (kept,)
        return kept

    def secret_headers(self, headers: Mapping[str, str] | None, reserved: Collection[str] = ()) -> dict[str, Secret]:
        """Return the option *headers* with every value as a secret; *reserved* names are the collector's own.

        Raises `ConfigurationError` for a header that can't be set.
        """
        kept = checked_headers(self, headers or {}, reserved)
        self._secrets += tuple(kept.values())
        return kept

    def declines(self, event: Event) -> str | None:
        """Return "sampled" for the events of visitors who are not in the sample."""
        return None if self._sample >= 1.0 or in_sample(event, self._sample) else "sampled"

    def properties_of(self, event: Event) -> dict[str, Scalar]:
        """Return the event's properties that may be sent."""
        properties = event.properties
        if self._allowed is not None:
            properties = {key: value for key, value in properties.items() if key in self._allowed}
        if self._sample >= 1.0:
            return properties
        # It goes first, because properties that don't fit are left out from the end.
        return {"sample_rate": self._sample} | {key: value for key, value in properties.items() if key != "sample_rate"}

    def deliver(
        self, items: Sequence[Item], chunks: Sequence[Sequence[Any]], send: Callable[[Sequence[Any]], object]
    ) -> None:
        """Send *items* in *chunks*, one request each; see `outgoing.tally.deliver`."""
        if self.concurrency == 1 or len(chunks) == 1:
            deliver(items, chunks, one_by_one(send))
            return
        workers = self._workers = self._workers or Workers(self.concurrency, f"analytics-{self.name}-send")
        deliver(items, chunks, lambda waiting: workers.map(partial(attempt, send), waiting, is_down))

    def send_parts(
        self,
        parts: Sequence[tuple[Any, bytes]],
        max_count: int,
        max_bytes: int,
        post: Callable[[list[bytes], Sequence[Any]], object],
        envelope: int = 0,
    ) -> None:
        """Send *parts*, items with their encoding, in as few requests as possible; *post* sends one request."""
        encoded = {id(item): part for item, part in parts}
        chunks = chunked(parts, max_count, max_bytes, envelope)
        items = [item for item, _ in parts]
        self.deliver(items, chunks, lambda chunk: post([encoded[id(item)] for item in chunk], chunk))

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
        """Post *body* and return the answer if it is a success or has one of the *expected* statuses.

        Raises `DeliveryError` for any other answer (see `outgoing.answers.error_for`), and if there is none.
        """
        request = self._outgoing(path, body, headers, query, content_type)
        # Tracebacks of what is raised below include this frame, so it must hold nothing secret.
        del body, headers, query, path
        answer = self._transport.exchange(request)
        if isinstance(answer, Failure):
            raise DeliveryError(self._masked(f"{self.endpoint.origin}: {answer.text}"), ambiguous=answer.sent)
        self.last_answer = answer
        if answer.status not in expected and (error := self._error_for(answer)) is not None:
            raise error
        return answer

    def address_of(self, event: Event) -> str | None:
        """Return the client's address if it may be sent."""
        return event.client_ip if "client_ip" in self.needs else None

    def probe(self, event: Event) -> str:
        """Send *event* now and return what the destination answered. Raises `DeliveryError` if it was not accepted."""
        self.collect(event)
        self.flush()
        return self.reported

    @property
    def reported(self) -> str:
        """The destination's last answer, for people to read."""
        answer = self.last_answer
        if answer is None:
            return "no answer"
        return f"{answer.status} {excerpt(answer, self._masked)}".strip()

    def close(self) -> None:
        """Close connections and end threads."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None
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

    def _error_for(self, answer: Answer) -> DeliveryError | None:
        """See `outgoing.answers.error_for`; secrets that the answer repeats are masked."""
        return error_for(answer, self.endpoint.origin, self._masked)

    def _masked(self, text: str) -> str:
        # The origin is no secret, so it is kept even where it contains a word of a secret path.
        origin = self.endpoint.origin
        return origin.join(redact(part, self._places) for part in redact(text, self._secrets).split(origin))


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
    """Return *body* as gzip, without a timestamp, so that a retry sends the same bytes."""
    return gzip.compress(body, 5, mtime=0)


def chunked(parts: Sequence[tuple[Any, bytes]], max_count: int, max_bytes: int, envelope: int = 0) -> list[list[Any]]:
    """Split *parts*, items with their encoding, and return lists of at most *max_count* items and *max_bytes*.

    Each part is counted with a comma; *envelope* is the size of what surrounds the parts. An item that is too large
    makes a list of its own: the destination decides about it.
    """
    chunks: list[list[Any]] = []
    size = 0
    for item, part in parts:
        if not chunks or len(chunks[-1]) >= max_count or size + len(part) + 1 > max_bytes:
            chunks.append([])
            size = envelope
        chunks[-1].append(item)
        size += len(part) + 1
    return chunks
