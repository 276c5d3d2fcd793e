"""Keys and tokens show nowhere, whatever goes wrong."""

import io
import logging
import traceback
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from destinations.all import VENDORS
from destinations.server import Reply, Server, unused_port
from destinations.vendor import SECRET, numbered, purchase

from analytics_middleware import DeliveryError
from analytics_middleware.collectors.webhook import WebhookCollector
from analytics_middleware.outgoing.secret import Secret

BY_NAME = {vendor.name: vendor for vendor in VENDORS}
# Whole requests are refused by these, or none of an event's own fault is ever said.
ANSWERS_PER_EVENT = ["plausible", "mixpanel", "amplitude", "matomo", "umami", "openpanel", "cloudevents", "webhook"]
WITH_SECRET = sorted(BY_NAME.keys() - {"plausible", "umami", "snowplow"})
ADDRESS = "203.0.113.9"


# Secrets: what must be nowhere.

TROUBLE: dict[str, Any] = {
    "echo": lambda request: Reply(400, f"bad: {request.target} {request.headers} {request.body.decode()}"),
    "echo for now": lambda request: Reply(503, f"bad: {request.target} {request.headers}"),
    "redirect": lambda request: Reply(307, headers={"Location": request.target}),
    "malformed header": lambda _request: lambda _r, line: line.send(b"HTTP/1.1 500 X\r\nbad header\r\n: x\r\n\r\n"),
    "hang up": lambda _request: lambda _r, _line: None,
}


@pytest.mark.parametrize("name", WITH_SECRET)
@pytest.mark.parametrize("trouble", [*TROUBLE, "refused"])
def test_secrets_show_nowhere(name: str, trouble: str, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Not in logs of any level, reprs, error texts, tracebacks or the locals of their frames."""
    vendor = BY_NAME[name]()
    url = f"http://127.0.0.1:{unused_port()}" if trouble == "refused" else server.url
    if trouble != "refused":
        server.handler = TROUBLE[trouble]
    collector = vendor.make(url)
    with caplog.at_level(logging.DEBUG):
        collector.collect(purchase(1))
        with pytest.raises(DeliveryError) as caught:
            collector.flush()
        logging.getLogger("analytics_middleware").error("it failed", exc_info=caught.value)
    collector.close()
    shown = io.StringIO()
    for error in chain(caught.value):
        shown.write(f"{error!r} {error} {error.args!r} {vars(error)!r}\n")
        traceback.print_exception(error, file=shown)
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if "analytics_middleware" in frame.f_code.co_filename:
                shown.write(f"{frame.f_code.co_name}: {frame.f_locals!r}\n")
    shown.write(f"{collector!r} {vars(collector)!r} {collector.reported}\n{caplog.text}")
    assert caught.value.__cause__ is None
    for form in (SECRET, quote(SECRET), b64encode(f"{SECRET}:".encode()).decode().rstrip("=")):
        assert form not in shown.getvalue()


@pytest.mark.parametrize(
    "said",
    [
        "Cannot POST {path}?{query}",
        "no hook {token}",
        "no such key: canary key/1",
        "no route for {path}?a=1&amp;key=canary+key%2F1",
    ],
)
def test_the_path_and_query_of_a_webhook_show_nowhere(said: str, server: Server) -> None:
    """They often are its secret, and error pages quote them; where it goes stays readable."""
    token, query = "canary-token-1", "a=1&key=canary+key%2F1"
    path = f"/services/T0/{token}"
    text = said.format(path=path, query=query, token=token)
    server.handler = lambda _request: Reply(404, text)
    collector = WebhookCollector(f"{server.url}{path}?{query}", allow_http=True, allow_private=True)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError) as caught:
        collector.flush()
    collector.close()
    for shown in (str(caught.value), collector.reported, repr(vars(collector))):
        assert "canary" not in shown
    assert str(caught.value).startswith(f"{server.url} answered 404: {said[:2]}")


def test_of_a_secret_that_stands_across_the_end_of_what_is_quoted_nothing_shows(server: Server) -> None:
    token = "canary-token-1"
    server.handler = lambda _request: Reply(404, "x" * 195 + token + " and more")
    collector = WebhookCollector(f"{server.url}/services/{token}", allow_http=True, allow_private=True)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError) as caught:
        collector.flush()
    collector.close()
    assert "xxx" in str(caught.value)
    assert "can" not in str(caught.value) + collector.reported


def test_a_path_that_is_a_word_of_the_host_leaves_the_host_readable(server: Server) -> None:
    """Only what the server says is masked, not where it is."""
    server.handler = lambda _request: Reply(404, "no 127.0.0.1 here")
    collector = WebhookCollector(f"{server.url}/127.0.0.1", allow_http=True, allow_private=True)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError, match=f"^{server.url} answered 404: no \\*\\*\\* here"):
        collector.flush()
    collector.close()


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_secret_can_be_given_as_one(server: Server) -> None:
    """Settings may hold `Secret` objects already."""
    from analytics_middleware.collectors.amplitude import AmplitudeCollector

    collector = AmplitudeCollector(Secret(SECRET), base_url=server.url, allow_http=True, allow_private=True)
    collector.collect(numbered(1))
    collector.flush()
    collector.close()
    assert server.requests[0].json["api_key"] == SECRET
