"""Ids, keys and options that are missing or malformed."""

from typing import Any

import pytest
from destinations.vendor import SECRET

from analytics_middleware import ConfigurationError
from analytics_middleware import collectors as public

WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("GA4Collector", ("", SECRET), {}, "measurement_id"),
    ("GA4Collector", ("UA-1234-5", SECRET), {}, "measurement_id"),
    ("GA4Collector", ("G-AB12CD34EF", ""), {}, "api_secret"),
    ("GA4Collector", ("G-AB12CD34EF", "a b"), {}, "api_secret"),
    ("GA4Collector", ("G-AB12CD34EF", SECRET), {"region": "mars"}, "region"),
    ("PlausibleCollector", ("",), {}, "domain"),
    ("PlausibleCollector", ("https://shop.example",), {}, "domain"),
    ("PostHogCollector", ("",), {}, "project_key"),
    ("PostHogCollector", ("phx_personal",), {}, "project_key"),
    ("PostHogCollector", ("phc_abcdefgh",), {"region": "mars"}, "region"),
    ("SegmentCollector", ("",), {}, "write_key"),
    ("SegmentCollector", (SECRET,), {"region": "mars"}, "region is 'mars'; it must be 'us' or 'eu'"),
    ("PlausibleCollector", ("shop.example",), {"region": "eu"}, "region is 'eu'; it must be left out"),
    ("RudderStackCollector", (SECRET, ""), {}, "data_plane_url"),
    ("RudderStackCollector", ("", "https://x.example"), {}, "write_key"),
    ("MixpanelCollector", ("",), {}, "project_token"),
    ("MixpanelCollector", (SECRET,), {"project_id": 4}, "project_id"),
    ("MixpanelCollector", (SECRET,), {"project_id": "x", "service_account": ("a", "bcdef")}, "project_id"),
    ("AmplitudeCollector", ("",), {}, "api_key"),
    ("MatomoCollector", ("", 1), {}, "base_url|url"),
    ("MatomoCollector", ("https://m.example", ""), {}, "site_id"),
    ("MatomoCollector", ("https://m.example/matomo.php", 1), {}, "matomo.php"),
    ("MatomoCollector", ("https://m.example", 1), {"goals": {"a": "b"}}, "goals"),
    ("UmamiCollector", ("not-a-uuid",), {}, "website_id"),
    ("UmamiCollector", (None,), {}, "website_id"),
    ("OpenPanelCollector", ("", SECRET), {}, "client_id"),
    ("OpenPanelCollector", ("abc", ""), {}, "client_secret"),
    ("SnowplowCollector", ("https://sp.example",), {"app_id": ""}, "app_id"),
    ("SnowplowCollector", ("https://sp.example",), {"app_id": "a", "schemas": {"x": "y"}}, "schemas"),
    ("OTLPCollector", ("",), {}, "endpoint"),
    ("OTLPCollector", ("https://o.example",), {"headers": {"x": "a\r\nb"}}, "header"),
    ("OTLPCollector", ("https://o.example",), {"headers": {"Content-Type": "text/plain"}}, "Content-Type"),
    ("OTLPCollector", ("https://o.example",), {"headers": {"x-n": 5}}, "OTLPCollector.*x-n"),
    ("OTLPCollector", ("https://o.example",), {"headers": [f"x-key: {SECRET}"]}, "headers must be a dict"),
    ("CloudEventsCollector", ("https://c.example",), {"source": ""}, "source"),
    ("CloudEventsCollector", ("https://c.example",), {"source": "/x", "headers": {"a b": "c"}}, "header"),
    (
        "CloudEventsCollector",
        ("https://c.example",),
        {"source": "/x", "headers": {"content-length": "3"}},
        "content-length",
    ),
    ("WebhookCollector", ("",), {}, "url"),
    ("WebhookCollector", ("https://h.example",), {"secret": "short"}, "secret"),
    ("WebhookCollector", ("https://h.example",), {"headers": {"Host": "x"}}, "Host"),
    ("WebhookCollector", ("https://h.example",), {"headers": {"X-A": "b\nc"}}, "X-A"),
    ("WebhookCollector", ("https://h.example",), {"headers": {"Webhook-Id": "x"}}, "Webhook-Id"),
    ("JSONLinesCollector", ("",), {}, "path"),
    ("JSONLinesCollector", ("x.jsonl",), {"keep": 0}, "keep"),
]


@pytest.mark.parametrize(("name", "args", "options", "word"), WRONG, ids=[f"{w[0]} {i}" for i, w in enumerate(WRONG)])
def test_a_missing_or_malformed_id_is_refused_at_once(
    name: str, args: tuple[Any, ...], options: dict[str, Any], word: str
) -> None:
    """By the constructor, which names it and repeats no secret."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        getattr(public, name)(*args, **options)
    assert SECRET not in str(caught.value)
