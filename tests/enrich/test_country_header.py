"""A CDN's word for the country counts when it came through the CDN: anybody else can send that header too."""

import pytest

from analytics_middleware import Analytics, ConfigurationError
from analytics_middleware.counters import Counters
from analytics_middleware.enrich.client_ip import ClientIP
from analytics_middleware.enrich.salts import PrivateSalts
from analytics_middleware.enrich.sessions import PrivateSessions
from analytics_middleware.enrich.visit import Enricher
from analytics_middleware.event import Event
from analytics_middleware.request import Request
from analytics_middleware.settings import Settings


def country(peer, trusted):
    settings = Settings(country_header="cf-ipcountry", trusted_proxies=trusted)
    enricher = Enricher(settings, PrivateSalts(), PrivateSessions(), Counters())
    request = Request(peer=peer, headers=[(b"cf-ipcountry", b"NZ"), (b"x-forwarded-for", b"198.51.100.1")])
    return enricher.enrich(Event(), request).event.visit.country


@pytest.mark.parametrize(
    ("peer", "trusted", "expected"),
    [
        ("10.0.0.1", ["10.0.0.0/8"], "NZ"),
        ("2001:db8::1", ["2001:db8::/32"], "NZ"),
        ("::ffff:10.0.0.1", ["10.0.0.0/8"], "NZ"),
        (None, ["unix"], "NZ"),
        ("", ["unix"], "NZ"),
        ("203.0.113.7", ["10.0.0.0/8"], None),
        ("203.0.113.7", ["unix"], None),
        (None, ["10.0.0.0/8"], None),
        ("not an address", ["10.0.0.0/8"], None),
    ],
)
def test_the_header_is_believed_when_a_trusted_proxy_brought_it(peer, trusted, expected):
    assert country(peer, trusted) == expected
    request = Request(peer=peer)
    assert ClientIP(trusted).trusts_peer(request) is (expected is not None)


def test_what_the_caller_says_of_the_country_stays():
    enricher = Enricher(
        Settings(country_header="cf-ipcountry", trusted_proxies=["unix"]), PrivateSalts(), PrivateSessions(), Counters()
    )
    event = Event()
    event.visit.country = "IT"
    assert enricher.enrich(event, Request(headers=[(b"cf-ipcountry", b"NZ")])).event.visit.country == "IT"


def test_the_header_without_a_proxy_to_trust_is_an_error_at_the_start():
    with pytest.raises(ConfigurationError, match="trusted_proxies"):
        Analytics(country_header="cf-ipcountry")
