"""Plausible's event endpoint, after the checks in its source."""

from typing import Any

from analytics_middleware.collectors.plausible import PlausibleCollector

from .server import Received, Reply
from .vendor import LOOPBACK, UA, Vendor, number


class Plausible(Vendor):
    name = "plausible"

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.drop: set[int] = set()
        """Numbers of events to accept with 202 and throw away."""

    def make(self, url: str, **options: Any) -> PlausibleCollector:
        return PlausibleCollector("shop.example", **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/api/event", "path")
        body = request.json
        self.bodies.append({**body, "headers": request.headers})
        if number(body) in self.refuse or len(body["url"].encode()) > 2000 or len(body["name"]) > 120:
            return Reply(400, {"errors": {"url": "is invalid"}})
        self.check(body["domain"] == "shop.example", "the domain as configured")
        self.check(request.headers.get("user-agent") == UA, "the visitor's user agent")
        self.check(request.headers.get("x-forwarded-for") == "203.0.113.9", "one address")
        self.check(len(body.get("props", {})) <= 30, "30 props")
        for key, value in body.get("props", {}).items():
            self.check(len(key.encode()) <= 300, "key of 300 bytes")
            self.check(not isinstance(value, str) or len(value.encode()) <= 2000, "value of 2000 bytes")
            self.check(not isinstance(value, (list, dict)) and value is not None, "scalars")
        if number(body) in self.drop:
            return Reply(202, "ok", {"x-plausible-dropped": "1"})
        self.take(body)
        return Reply(202, "ok")
