"""What every collector that sends over HTTP keeps to, each against a stand-in that enforces its vendor's limits."""

import re
import sys
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from destinations.all import VENDORS
from destinations.delivering import Delivery
from destinations.server import Received, Reply, Server
from destinations.vendor import Vendor, action, numbered, purchase

from analytics_middleware import Event, EventType, Money
from analytics_middleware.event import Identify

BY_NAME = {vendor.name: vendor for vendor in VENDORS}
# Whole requests are refused by these, or none of an event's own fault is ever said.
ANSWERS_PER_EVENT = ["plausible", "mixpanel", "amplitude", "matomo", "umami", "openpanel", "cloudevents", "webhook"]
WITH_SECRET = sorted(BY_NAME.keys() - {"plausible", "umami", "snowplow"})
ADDRESS = "203.0.113.9"


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    made: Vendor = request.param()
    return made


@pytest.fixture
def deliver(vendor: Vendor, server: Server) -> Iterator[Delivery]:
    server.handler = vendor.answer
    delivery = Delivery(vendor.make(server.url))
    yield delivery
    delivery.close()


def wire(server: Server) -> str:
    """Return everything that was received, as readable text."""
    return "\n".join(unquote(f"{each.target} {each.headers} {each.body.decode()}") for each in server.requests)


def unpacked(text: str) -> str:
    """Return *text* with what Base64 it holds beside it."""
    found = [part for part in re.findall(r"[A-Za-z0-9_-]{24,}", text) if len(part) % 4 != 1]
    return text + "".join(urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("latin-1") for part in found)


def test_every_kind_of_event_is_taken(vendor: Vendor, deliver: Delivery) -> None:
    """Page views, actions, custom events and money arrive once each, within the vendor's limits."""
    refund = purchase(5, revenue=Money("-5.50", "EUR"))
    yen = purchase(4, revenue=Money("1500", "JPY"))
    deliver.put(numbered(0), action(1), purchase(2), numbered(3, event_name="read.article"), yen, refund)
    stats = deliver.finish()
    assert (stats.delivered, stats.dead, stats.dropped) == (6, 0, {})
    assert vendor.violations == []
    assert sorted(vendor.accepted) == [0, 1, 2, 3, 4, 5]


def test_an_event_that_says_next_to_nothing_is_sent(vendor: Vendor, deliver: Delivery) -> None:
    """Without address, agent, ids, request and revenue each collector copes."""
    url = "https://shop.example/p/1"
    bare = [Event(event_name="signup", url=url), Event(type=EventType.PAGEVIEW, url=url), Event(type=EventType.ACTION)]
    bare[2].url = url
    deliver.put(*bare)
    stats = deliver.finish()
    assert (stats.delivered, stats.dead) == (3, 0)
    assert [text for text in vendor.violations if "visitor's" not in text and text != "one address"] == []


HOSTILE: dict[str, Any] = {
    "long name": {"event_name": "n" * 256},
    "name of signs": {"event_name": "  1. Größe & <b>Маß</b> / 大小!  "},
    "reserved names": {"event_name": "session_start", "properties": {"_x": 1, "ga_y": 2, "$ignore": 3, "bucket": 4}},
    "many properties": {"properties": {f"key_{index}": index for index in range(64)}},
    "long texts": {"properties": {f"key {index} {'ü' * 250}": "ä" * 4096 for index in range(40)}},
    "huge texts": {"properties": {f"k{index}": "\U0001f600" * 4096 for index in range(64)}},
    "same keys": {"properties": {"a.b": 1, "a_b": 2, "a b": 3}},
    "odd values": {"properties": {"none": None, "big": 2**63 - 1, "float": 1e300, "empty": "", "emoji": "\U0001f600"}},
    "long url": {"url": f"https://shop.example/p/7?utm_source={'x' * 1900}&y={'ü' * 60}"},
    "long referrer": {"referrer": "https://x.example/" + "r" * 2000},
    "broken url": {"url": "http://[/p/7?a=b#c", "referrer": "//[::::"},
    "long path": {"url": "https://shop.example/p/7/" + "é" * 2000},
    "long ids": {"user_id": "u" * 256, "anon_id": "a" * 256, "hostname": "h" * 250},
    "no real id": {"user_id": "anonymous", "anon_id": "null"},
    "control characters": {"user_agent": None, "client_ip": "203.0.113.9", "properties": {"x\r\ny": "a\x00b\x1b[31m"}},
    "odd event id": {"event_id": "order-17"},
    "huge refund": {"event_name": "refund", "revenue": Money.from_minor(-(2**62), "KWD")},
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("kind", [EventType.PAGEVIEW, EventType.CUSTOM])
def test_whatever_an_event_holds_fits_the_limits(vendor: Vendor, deliver: Delivery, kind: EventType, case: str) -> None:
    """Names, lengths and counts are cut before the vendor would refuse them."""
    deliver.put(numbered(7, **{"type": kind, **HOSTILE[case]}))
    stats = deliver.finish()
    assert (stats.delivered, stats.dead) == (1, 0), deliver.dead
    assert [text for text in vendor.violations if "user agent" not in text] == []


def test_what_was_cut_is_counted(vendor: Vendor, deliver: Delivery) -> None:
    """Two runs cut the same; nothing is random."""
    events = [numbered(index, **fields) for index, fields in enumerate(HOSTILE.values())]
    deliver.put(*events)
    deliver.finish()
    first = deliver.collector.cut.take()
    again = vendor.make(deliver.collector.endpoint.origin)
    for event in events:
        again.collect(Event.decode(event.encode()).replace(client_ip=event.client_ip, request=event.request))
    again.flush()
    again.close()
    assert again.cut.take() == first


def test_retries_send_the_same_content(vendor: Vendor, deliver: Delivery, server: Server) -> None:
    """A request that failed is made again with the same bytes, apart from the time of the attempt."""
    script = iter([Reply(503, "busy")])
    server.handler = lambda request: next(script, None) or vendor.answer(request)
    deliver.put(purchase(1))
    deliver.finish()
    first, second = (stable(request) for request in server.requests[:2])
    assert first == second


def stable(request: Received) -> tuple[str, str]:
    body = re.sub(r'"(sent_at|sentAt)":"[^"]*"|"stm":"\d+"', "", request.body.decode())
    return request.target, body


@pytest.mark.parametrize("name", ANSWERS_PER_EVENT)
def test_a_refused_event_is_a_dead_letter_and_the_others_arrive(name: str, server: Server) -> None:
    """Each of the others exactly once, whatever the vendor does with the batch."""
    vendor = BY_NAME[name]()
    vendor.refuse = {2}
    server.handler = vendor.answer
    delivery = Delivery(vendor.make(server.url))
    delivery.put(*(numbered(index) for index in range(5)))
    stats = delivery.finish()
    delivery.close()
    assert (stats.delivered, stats.dead, stats.dropped) == (4, 1, {})
    assert sorted(vendor.accepted) == [0, 1, 3, 4]
    assert len(delivery.dead) == 1
    assert delivery.dead[0]


def test_a_large_backlog_is_sent_in_requests_that_fit(vendor: Vendor, deliver: Delivery, server: Server) -> None:
    """Bytes and counts of a request stay within the limits, connections are kept."""
    events = [numbered(index, properties={f"k{key}": "v" * 900 for key in range(20)}) for index in range(120)]
    deliver.put(*events)
    stats = deliver.finish(steps=200)
    assert stats.delivered == 120
    assert vendor.violations == []
    assert sorted(vendor.accepted) == list(range(120))
    assert server.connections <= max(1, deliver.collector.concurrency)


def test_only_allowed_properties_leave(vendor: Vendor, server: Server) -> None:
    """``properties=`` is an allow-list for events and traits."""
    server.handler = vendor.answer
    collector = vendor.make(server.url, properties=("plan",))
    collector.collect(
        numbered(
            1, event_name="signup", type=EventType.CUSTOM, properties={"plan": "annual", "email": "canary@x.example"}
        )
    )
    if vendor.users:
        collector.take_identify(Identify(user_id="user-7", traits={"plan": "annual", "email": "canary@x.example"}))
    collector.flush()
    collector.close()
    assert "canary@x.example" not in unpacked(wire(server))


def test_the_address_is_kept_back_on_request(vendor: Vendor, server: Server) -> None:
    """``client_ip=False`` declares no need for it and sends none, though the event has one."""
    server.handler = vendor.answer
    options: dict[str, Any] = {} if vendor.name in ("webhook", "cloudevents") else {"client_ip": False}
    collector = vendor.make(server.url, **options)
    event = numbered(1, client_ip=None if not options else ADDRESS)
    collector.collect(event)
    collector.flush()
    collector.close()
    assert "client_ip" not in collector.needs
    assert ADDRESS not in wire(server)


def test_a_sample_is_of_visitors(vendor: Vendor, server: Server) -> None:
    """A visitor is in or out with all events, also after signing in; what is out is counted as sampled.

    The rate has its place in an event with more properties than the destination takes.
    """
    many = {f"k{index}": index for index in range(64)}
    server.handler = vendor.answer
    delivery = Delivery(vendor.make(server.url, sample=0.5))
    delivery.put(
        *(
            numbered(index, anon_id=f"visitor-{index % 20}", user_id=None if index < 20 else "u", properties=many)
            for index in range(40)
        )
    )
    stats = delivery.finish()
    delivery.close()
    assert stats.delivered + stats.dropped["sampled"] == 40
    assert 0 < stats.delivered < 40
    assert {index % 20 for index in vendor.accepted if index < 20} == {
        index % 20 for index in vendor.accepted if index >= 20
    }
    if vendor.name not in ("matomo", "umami", "snowplow"):  # no place for properties of page views
        assert wire(server).count("sample_rate") == stats.delivered


def test_traits_reach_destinations_that_know_users(vendor: Vendor, deliver: Delivery, server: Server) -> None:
    """They go with the events; destinations without users have no ``identify``."""
    if not vendor.users:
        assert not hasattr(deliver.collector, "identify")
        return
    deliver.put(
        numbered(0),
        Identify(user_id="user-7", anon_id="a" * 32, traits={"plan": "gold", "seats": 4, "old": None}),
        numbered(1),
    )
    stats = deliver.finish()
    assert (stats.delivered, stats.dead) == (2, 0)
    assert vendor.violations == []
    assert sorted(vendor.accepted) == [0, 1]
    assert "gold" in wire(server)
    deliver.collector.identify("user-8", {"plan": "silver"})
    deliver.collector.flush()
    assert "user-8" in wire(server)


def test_the_user_agent_of_our_requests_is_ours_or_the_visitors(
    vendor: Vendor, deliver: Delivery, server: Server
) -> None:
    """Destinations that identify visitors by the header get the visitor's; all others see who is calling."""
    deliver.put(numbered(0))
    deliver.finish()
    (request,) = server.requests
    visitors = vendor.name in ("plausible", "openpanel")
    assert request.headers["user-agent"].startswith("Mozilla/" if visitors else "analytics-middleware/")


def test_it_says_what_it_is(vendor: Vendor, deliver: Delivery) -> None:
    """A docstring says what is sent, what is not and which personal data leaves; careful defaults otherwise."""
    collector = deliver.collector
    text = type(collector).__doc__ or ""
    assert "ent" in text
    assert collector.third_party is (vendor.name != "webhook")
    assert collector.requires_consent is False
    assert isinstance(collector.accepts_history, bool)
    assert collector.accepts_history or collector.history_note
    assert vendor.make("http://127.0.0.1:1", requires_consent=True).requires_consent is True
    assert vendor.make("http://127.0.0.1:1", max_age=60).max_age == 60
    assert vendor.make("http://127.0.0.1:1", name="second").name == "second"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"timeout": 0}, "timeout"),
        ({"sample": 2}, "sample"),
        ({"properties": "plan"}, "properties"),
        ({"max_age": -1}, "max_age"),
        ({"allow_http": False}, "https"),
        ({"allow_private": False}, "private"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)  # fmt: skip
def test_wrong_options_are_refused_at_once(vendor: Vendor, options: dict[str, Any], word: str) -> None:
    """The error names the option."""
    with pytest.raises(ValueError, match=word):
        vendor.make("http://127.0.0.1:1", **options)


def test_an_unknown_option_is_an_error(vendor: Vendor) -> None:
    """As for any function."""
    with pytest.raises(TypeError, match="colour"):
        vendor.make("http://127.0.0.1:1", colour="red")


def test_one_event_can_be_tried_out(vendor: Vendor, server: Server) -> None:
    """And the destination's answer read."""
    server.handler = vendor.answer
    collector = vendor.make(server.url)
    assert collector.probe(numbered(1))[:2] == "20"
    collector.close()
    assert vendor.accepted == [1]


def test_old_events_keep_their_time(vendor: Vendor, deliver: Delivery, server: Server) -> None:
    """Where history is accepted an event of last year is sent with its own time; elsewhere it is stale."""
    then = datetime.now(UTC) - timedelta(days=300)
    old = numbered(1, timestamp=then)
    deliver.put(old)
    deliver.now = datetime.now(UTC).timestamp()
    stats = deliver.finish()
    if deliver.collector.max_age is not None:
        assert stats.dropped == {"stale": 1}
        return
    assert stats.delivered == 1
    text = wire(server)
    stamps = (f"{then:%Y-%m-%d}", str(int(then.timestamp())))
    assert any(stamp in text for stamp in stamps), text


def test_importing_the_package_imports_no_http_client() -> None:
    """Those who send nothing over the network don't pay for it."""
    import subprocess

    code = "import sys, analytics_middleware; import analytics_middleware.collectors; print('urllib3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_every_collector_is_exported() -> None:
    """By its name, from one place."""
    import analytics_middleware.collectors as collectors

    for name in collectors.__all__:
        assert getattr(collectors, name).__name__ == name
    assert set(collectors.__all__) <= set(dir(collectors))
    with pytest.raises(AttributeError, match="NoSuch"):
        collectors.NoSuch  # noqa: B018
