"""``collectors test NAME``: what a vendor says of one marked event, over the loopback."""

import pytest
from destinations.ga4 import GA4
from destinations.plausible import Plausible
from destinations.server import Reply, Server
from destinations.vendor import SECRET, Vendor

from analytics_middleware import Analytics, cli


def told(vendor: Vendor, url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    analytics = Analytics([vendor.make(url)], enabled=True, store=None)
    code = cli.main(["collectors", "test", vendor.name], application=lambda: analytics)
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    return code, said.out.splitlines()[-1], said.err


class Marked(GA4):
    """Takes the event without a number that the command sends."""

    def take(self, *parts: object) -> None:
        pass


def test_of_ga4_it_tells_what_the_debug_endpoint_says(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The other endpoint says yes to anything."""
    vendor = Marked()
    server.handler = vendor.answer
    code, said, _ = told(vendor, server.url, capsys)
    assert (code, said) == (0, "ga4 took it: 204; the debug endpoint has no remarks; it checks no secret")
    vendor.messages = [{"fieldPath": "events", "description": "name is odd", "validationCode": "NAME_INVALID"}]
    assert "the debug endpoint has name is odd" in told(vendor, server.url, capsys)[1]
    assert [request.path for request in server.requests] == ["/debug/mp/collect", "/mp/collect"] * 2
    assert vendor.violations == []
    assert {event["name"] for body in vendor.bodies for event in body["events"]} == {"analytics_middleware_test"}


def test_what_a_vendor_drops_behind_a_success_is_a_refusal(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.handler = lambda _request: Reply(202, b"ok", {"x-plausible-dropped": "1"})
    code, _, said = told(Plausible(), server.url, capsys)
    assert code == 1
    assert said.startswith("plausible did not take it: Plausible dropped it: the site is unknown there")
