"""What one process hands over to another makes the very event there that it would have made here."""

import copy
from datetime import UTC, datetime

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_middleware import Event, Money
from analytics_middleware.context import RequestContext
from analytics_middleware.counters import Counters
from analytics_middleware.enrich.salts import PrivateSalts
from analytics_middleware.enrich.sessions import PrivateSessions
from analytics_middleware.enrich.visit import Enricher
from analytics_middleware.event import Erase, EventType, Identify, Visit
from analytics_middleware.ids import first_of_many, successor
from analytics_middleware.pipeline import Pipeline
from analytics_middleware.relay import facts, wire
from analytics_middleware.settings import Settings
from analytics_middleware.tracking import TrackedEvent, TrackedTraits

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SALTS = PrivateSalts()


class Text(str):
    """A text of a framework's own."""

    __slots__ = ()


# As a rule a request makes an event.
rarely = st.sampled_from([False, False, False, True])


def optional(strategy):
    return st.none() | strategy


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
asgi_headers = st.lists(
    st.tuples(
        st.sampled_from([b"host", b"user-agent", b"referer", b"accept-language", b"dnt", b"x-forwarded-for", b"X-Y"]),
        st.binary(max_size=30),
    ),
    max_size=6,
)
wsgi_headers = st.dictionaries(
    st.sampled_from(["HTTP_HOST", "HTTP_USER_AGENT", "HTTP_REFERER", "HTTP_DNT", "HTTP_COOKIE"]),
    st.text(st.characters(max_codepoint=255), max_size=30),
)
moneys = st.builds(Money.from_minor, st.integers(-(10**15), 10**15), st.sampled_from(["EUR", "JPY", "KWD"]))
given_events = st.builds(
    Event,
    user_id=optional(texts),
    path=optional(texts | st.integers(0, 99)),
    locale=optional(texts),
    timestamp=st.just(NOW),
)


@st.composite
def contexts(draw):
    """A request as a server and a view may have left it."""
    context = RequestContext.__new__(RequestContext)
    context.method = draw(st.sampled_from(["GET", "POST", "POST", "HEAD", "PURGE"]))
    context.scheme = draw(st.sampled_from(["http", "https"]))
    context.path = Text("/" + draw(texts))
    context.query = draw(st.sampled_from(["", "utm_source=x&q=1", "é"]))
    context.peer = draw(optional(st.sampled_from(["192.0.2.7", "::1", "unix:"])))
    context.headers = draw(asgi_headers | wsgi_headers)
    context.host_fallback = "shop.example"
    context.entered = NOW.timestamp()
    context.status = draw(st.sampled_from([200, 200, 204, 302, 404, 500, None]))
    # As the two protocols have them.
    context.response_headers = draw(
        st.sampled_from([(), [(b"Content-Type", b"text/html")], [("Content-Type", "text/html; charset=utf-8")]])
    )
    context.duration = draw(optional(st.floats(0, 100)))
    for name in ("pattern", "endpoint", "user_id", "locale", "event_name", "action_name", "set_user_id", "anon_id"):
        setattr(context, name, draw(optional(texts)))
    context.excluded = draw(rarely)
    context.staff = draw(rarely)
    context.restored = draw(rarely)
    context.revenue = draw(optional(moneys))
    context.properties = draw(optional(st.dictionaries(texts, scalars, max_size=4)))
    context.trace = draw(st.just(0) | st.integers(1, 2**128 - 1))
    context.given = draw(given_events) if draw(rarely) else None
    return context


tracked_events = st.builds(
    Event,
    type=st.sampled_from([*EventType, "custom", "nonsense"]),
    event_name=texts,
    path=optional(texts),
    user_id=optional(texts | st.integers(0, 2**60)),
    visit=st.builds(Visit, country=optional(texts), is_bot=st.booleans()),
    duration=optional(st.floats()),
    revenue=optional(moneys),
    timestamp=st.just(NOW) | st.just(NOW.replace(tzinfo=None)),
    properties=st.dictionaries(texts, scalars, max_size=4),
)
records = st.builds(Identify, user_id=texts, traits=st.dictionaries(texts, scalars, max_size=4), timestamp=st.just(NOW))
handed = (
    contexts()
    | st.builds(TrackedEvent, tracked_events, optional(contexts()))
    | st.builds(TrackedTraits, records, optional(contexts()))
    | st.builds(Erase, user_id=texts, anon_id=optional(texts), timestamp=st.just(NOW))
)


def made_of(items):
    """What the log gets of *items*, but for the session, which is drawn."""
    counters, defaults = Counters(), Settings()
    enricher = Enricher(defaults, SALTS, PrivateSessions(), counters)
    drafts = Pipeline(defaults, counters, enricher).drafts(items)
    assert "dropped.internal_error" not in counters.peek()
    return [draft._replace(payload=without_session(draft.payload)) for draft in drafts]


def without_session(payload):
    record = msgspec.json.decode(payload)
    record.get("visit", {}).pop("session_id", None)
    return record


def travels(item):
    """Whether *item* can be handed over; one with numbers for texts and the like stays, which is as good."""
    try:
        facts.encode(item)
    except TypeError:
        event = item.event if isinstance(item, TrackedEvent) else None
        given = getattr(item, "given", None) or getattr(getattr(item, "context", None), "given", None)
        assert any(each is not None and odd(each) for each in (event, given))
        return False
    return True


def odd(event):
    return isinstance(event.user_id, int) or isinstance(event.path, int) or not isinstance(event.visit, Visit)


@settings(max_examples=300)
@given(st.lists(handed, max_size=3))
def test_what_arrives_makes_the_same_entries_of_the_log(items):
    counters = Counters()
    first_id = first_of_many()
    items = [item for item in items if travels(item)]
    encoded = [facts.encode(item) for item in copy.deepcopy(items)]
    body = wire.frame(first_id, encoded)[wire.LENGTH.size :]
    for number, item in enumerate(items):
        if isinstance(item, RequestContext):
            item.event_id = successor(first_id, number)
    expected = made_of(items)
    arrived_id, arrived = facts.decode(body, counters)
    assert arrived_id == first_id
    assert made_of(arrived) == expected
    assert made_of(facts.decode_each(first_id, encoded, counters)) == expected
    assert counters.peek() == {}


def test_an_item_that_is_none_is_counted_and_the_others_arrive():
    counters = Counters()
    good = facts.encode(Erase(user_id="7"))
    odd = msgspec.msgpack.encode((99, None, None))
    bad = msgspec.msgpack.encode((1, "no event", None))
    (arrived,) = facts.decode_each(first_of_many(), [odd, good, bad], counters)
    assert isinstance(arrived, Erase)
    assert counters.peek() == {"dropped.internal_error": 2}
