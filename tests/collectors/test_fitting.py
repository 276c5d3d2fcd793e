"""Making things fit: never too long, never random, and counted exactly when something was cut."""

import re
import threading

from destinations.ga4 import GA4
from destinations.plausible import Plausible
from destinations.server import Server
from destinations.vendor import LOOPBACK, numbered
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.collectors import GA4Collector
from analytics_middleware.collectors.fitting import Fit, header_value, query_of
from analytics_middleware.collectors.people import as_uuid, session_start
from analytics_middleware.counters import Counters

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)


@given(TEXT, st.integers(0, 60))
def test_text_is_cut_to_its_beginning(text: str, limit: int) -> None:
    """By characters or by bytes, whole characters in both."""
    cut = Counters()
    fit = Fit(cut)
    characters, data = fit.text("c", text, limit), fit.utf8("b", text, limit)
    assert text.startswith(characters)
    assert text.startswith(data)
    assert len(characters) <= limit
    assert len(data.encode()) <= limit
    assert cut.peek() == {
        **({"c": 1} if len(text) > limit else {}),
        **({"b": 1} if len(text.encode()) > limit else {}),
    }


@given(st.dictionaries(TEXT, st.none() | st.integers() | TEXT, max_size=12), st.integers(0, 8))
def test_properties_keep_their_order_and_first_keys(properties: dict[str, int | str | None], count: int) -> None:
    """Those beyond the number, and keys that became the same, are left out and counted."""
    cut = Counters()
    fitted = Fit(cut).properties(properties, count, lambda key: key[:2])
    assert len(fitted) <= count
    given_ = {key: value for key, value in properties.items() if value is not None}
    assert len(given_) == len(fitted) + sum(cut.peek().values())
    first: dict[str, int | str] = {}
    for key, value in given_.items():
        if key:
            first.setdefault(key[:2], value)
    assert list(fitted.items()) == list(first.items())[:count]


@given(TEXT)
def test_every_name_becomes_one_that_ga4_takes(name: str) -> None:
    """Whatever an application calls its events and properties."""
    collector = GA4Collector("G-AB12CD34EF", "s3cret-s3cret")
    for what in ("event_name", "property_name"):
        fitted = collector._name(what, name)
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", fitted)
        assert not fitted.startswith(("ga_", "google_", "firebase_"))
        assert collector._name(what, name) == fitted


@given(TEXT)
def test_header_values_hold_no_control_characters(text: str) -> None:
    """And nothing beyond Latin-1."""
    value = header_value(text)
    value.encode("latin-1")
    assert not re.search(r"[\x00-\x1f\x7f]", value)


@given(st.text(max_size=36), TEXT)
def test_ids_and_urls_from_anywhere_break_nothing(event_id: str, url: str) -> None:
    """An id becomes the same UUID each time; a query is what stands after the question mark."""
    assert as_uuid(event_id) == as_uuid(event_id)
    assert session_start(event_id) is None or session_start(event_id) >= 0
    assert query_of(f"{url}?a=b") if "#" not in url else True


def test_long_urls_lose_their_query_first(server: Server) -> None:
    """Then their end."""
    fit = Fit(Counters())
    assert fit.url("url", "https://a.example/b?" + "c" * 50, 30) == "https://a.example/b"
    assert fit.url("url", "https://a.example/" + "ü" * 50, 30) == "https://a.example/" + "ü" * 6
    assert fit.url("url", "https://a.example/b?c", 30) == "https://a.example/b?c"


def test_threads_start_when_needed_and_end_with_the_collector() -> None:
    """None for one event; at most as many as requests at once; none after close."""
    vendor = Plausible()

    def running() -> int:
        return sum(thread.name.startswith("analytics-plausible-send") for thread in threading.enumerate())

    with Server(vendor.answer) as server:
        collector = vendor.make(server.url)
        collector.collect(numbered(0))
        collector.flush()
        assert running() == 0
        for index in range(50):
            collector.collect(numbered(index))
        collector.flush()
        assert 0 < running() < collector.concurrency
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("analytics-plausible-send")]
        collector.close()
        for thread in threads:
            thread.join(5)
        assert running() == 0
        # It may be used again.
        collector.collect(numbered(51))
        collector.flush()
        collector.close()
    assert len(vendor.accepted) == 52


def test_two_collectors_of_one_kind_keep_apart() -> None:
    """A region or a need of one is not the other's."""
    first = GA4Collector("G-AAAAAAAA", "s3cret-s3cret", region="eu", client_ip=False)
    second = GA4Collector("G-BBBBBBBB", "s3cret-s3cret")
    assert (first.endpoint.host, second.endpoint.host) == ("region1.google-analytics.com", "www.google-analytics.com")
    assert (first.needs, second.needs) == (
        ("cookie:_ga", "cookie:_ga_AAAAAAAA"),
        ("client_ip", "cookie:_ga", "cookie:_ga_BBBBBBBB"),
    )
    assert GA4().make("http://127.0.0.1:1", **LOOPBACK).needs == ("client_ip", "cookie:_ga", "cookie:_ga_AB12CD34EF")
