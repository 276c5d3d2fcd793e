"""What the loopback stand-ins of destinations have in common."""

import json
import re
from typing import Any, ClassVar
from urllib.parse import unquote

from analytics_middleware import Event, EventType, Money
from analytics_middleware.collectors.http import HTTPCollector
from analytics_middleware.request import Request

from .server import Received, Reply

SECRET = "s3cr3t-canary-0123456789"
"""What every collector under test is given as its key, where its form is free."""
LOOPBACK: dict[str, Any] = {"allow_http": True, "allow_private": True, "timeout": 10.0, "connect_timeout": 5.0}
UA = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36"


class Vendor:
    """One destination: how to make its collector, and how its server answers.

    The server notes what breaks the vendor's published limits in `violations`, and in `accepted` the numbers of the
    events it took, read from the URLs that `numbered` gives them.
    """

    name: ClassVar[str]
    users: ClassVar[bool] = False
    """Whether it has a call for traits of users."""
    final: ClassVar[frozenset[str]] = frozenset()
    """Statuses of a server's trouble that its documentation says must not be tried again."""

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.violations: list[str] = []
        self.refuse: set[int] = set()
        """Numbers of events to refuse for good in the way the vendor does."""

    def make(self, url: str, **options: Any) -> HTTPCollector:
        raise NotImplementedError

    def answer(self, request: Received) -> Reply:
        raise NotImplementedError

    def check(self, condition: object, text: str) -> None:
        if not condition:
            self.violations.append(text)

    def take(self, *parts: Any) -> None:
        """Note the events in *parts*, each one event as it arrived."""
        for part in parts:
            self.accepted.append(number(part))


def number(part: Any) -> int:
    """Return the number of the event that *part* is, from its URL."""
    found = re.search(r"/p/(\d+)", part if isinstance(part, str) else json.dumps(part))
    assert found is not None, part
    return int(found[1])


def numbers(request: Received) -> set[int]:
    """Return the numbers of all events in *request*."""
    return {int(found) for found in re.findall(r"/p/(\d+)", unquote(request.body.decode()))}


def numbered(index: int, **fields: Any) -> Event:
    """Return an event with everything a request knows; *index* is in its URL."""
    given: dict[str, Any] = {
        "type": EventType.PAGEVIEW,
        "url": f"https://shop.example/p/{index}?utm_source=news",
        "path": f"/p/{index}",
        "hostname": "shop.example",
        "matched_pattern": "/p/{id}",
        "method": "GET",
        "status_code": 200,
        "duration": 0.012,
        "locale": "de-DE",
        "referrer": "https://search.example/",
        "user_agent": UA,
        "client_ip": "203.0.113.9",
        "user_id": "user-7",
        "anon_id": "0123456789abcdef0123456789abcdef",
        "properties": {"plan": "annual", "seats": 3, "trial": False},
        "request": Request(headers=[(b"user-agent", UA.encode()), (b"cookie", b"_ga=GA1.1.1234567890.1700000000")]),
        **fields,
    }
    return Event(**given)


def purchase(index: int, **fields: Any) -> Event:
    """Return a custom event with money."""
    given = {"event_name": "order.completed", "revenue": Money("29.99", "GBP"), **fields}
    return numbered(index, type=EventType.CUSTOM, **given)


def action(index: int, **fields: Any) -> Event:
    """Return an automatic action."""
    return numbered(index, type=EventType.ACTION, action_name="shop.views.add_to_cart", method="POST", **fields)
