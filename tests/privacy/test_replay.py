"""What is replayed from the store goes where it would have gone as it happened: consent, bots, allow-lists, samples."""

import pytest

from analytics_middleware import Analytics, cli, set_user
from analytics_middleware.collectors import HTTPCollector
from analytics_middleware.testing import FakeCollector

pytest.importorskip("duckdb")

CRAWLER = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


class Vendor(HTTPCollector):
    """Keeps what it would send."""

    url_option = "base_url"

    def __init__(self, name, **options):
        super().__init__(name=name, base_url="https://vendor.example", **options)
        self.linger = 0.0
        self.needs = ("client_ip",)
        self.got = []

    def send(self, events):
        self.got += [(event.event_id, self.properties_of(event), self.address_of(event)) for event in events]


def vendors(prefix):
    return [
        Vendor(f"{prefix}-plain"),
        Vendor(f"{prefix}-asking", requires_consent=True),
        Vendor(f"{prefix}-bots", bots=True),
        Vendor(f"{prefix}-sampled", sample=0.5),
        Vendor(f"{prefix}-picky", properties=["plan"]),
        FakeCollector(f"{prefix}-own", third_party=False, requires_consent=True),
    ]


def traffic(site):
    site.pages["/buy"] = lambda: (
        site.analytics.track("bought", {"plan": "pro", "note": "gift"}),
        type(site).page(site, "/"),
    )[1]
    site.pages["/account"] = lambda: (set_user("ada"), type(site).page(site, "/"))[1]
    for number in range(12):
        visitor = {"peer": f"198.51.100.{number}"}
        for headers in ({}, {"dnt": "1"}, {"cookie": "consent=yes"}, {"cookie": "consent=yes", "sec-gpc": "1"}):
            site.visit("/buy", headers=headers, **visitor)
        site.visit("/account", headers={"dnt": "1"}, **visitor)
        site.visit("/", headers={"user-agent": CRAWLER}, **visitor)


def kept(collectors):
    """What each has, in any order, by what it is called after its prefix; without the address, which is not history."""
    found = {}
    for each in collectors:
        name = each.name.partition("-")[2]
        if isinstance(each, Vendor):
            found[name] = sorted((event_id, sorted(properties.items())) for event_id, properties, _ in each.got)
        else:
            found[name] = sorted((event.event_id, sorted(event.properties.items())) for event in each.events)
    return found


def test_each_gets_of_history_what_it_would_have_had_as_it_happened(build, tmp_path, capsys):
    live = vendors("live")
    consent = {"consent": lambda request: request.cookie("consent") == "yes"}
    site = build("asgi", collectors=live, data_dir=tmp_path, store="default", **consent)
    traffic(site)
    assert site.analytics.flush(20)
    site.analytics.close(5)
    dropped = {name.partition("-")[2]: each["dropped"] for name, each in site.analytics.stats()["collectors"].items()}

    late = vendors("late")
    for collector in late:
        analytics = Analytics(late, data_dir=tmp_path, enabled=True, **consent)
        words = ["replay", "--collector", collector.name, "--since", "1h"]
        assert cli.main(words, application=lambda analytics=analytics: analytics) == 0
        stats = analytics.stats()["collectors"][collector.name]
        assert stats["dropped"] == dropped[collector.name.partition("-")[2]]
        analytics.outbox.close()
    expected = kept(live)
    assert kept(late) == expected
    assert {name: len(events) for name, events in expected.items() if name != "sampled"} == {
        "plain": 12 * 4,
        "asking": 12 * 2,
        "bots": 12 * 5,
        "picky": 12 * 4,
        "own": 12 * 4,
    }
    assert 0 < len(expected["sampled"]) < 12 * 4
    assert {tuple(properties) for _, properties, _ in late[4].got} == {("plan",), ()}
    assert all(address is not None for _, _, address in live[0].got)
    assert all(address is None for each in late[:5] for _, _, address in each.got), "addresses are not kept"
