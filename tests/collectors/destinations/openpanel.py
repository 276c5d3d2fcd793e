"""OpenPanel's track endpoint."""

from datetime import datetime
from typing import Any

from analytics_middleware.collectors.openpanel import OpenPanelCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, UA, Vendor, number

CLIENT = "5b1e1f6a-2f9b-4e55-a1bb-8f4f4a7d6c10"


class OpenPanel(Vendor):
    name = "openpanel"
    users = True

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.bots: set[int] = set()

    def make(self, url: str, **options: Any) -> OpenPanelCollector:
        return OpenPanelCollector(CLIENT, SECRET, **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/track", "path")
        self.check(request.headers["openpanel-client-id"] == CLIENT, "client id")
        if request.headers["openpanel-client-secret"] != SECRET:
            return Reply(401, {"message": "Unauthorized"})
        body = request.json
        self.bodies.append(body)
        if body["type"] == "identify":
            self.check(body["payload"]["profileId"], "profileId")
            return Reply(200, {})
        payload = body["payload"]
        properties = payload["properties"]
        if number(body) in self.refuse:
            return Reply(400, {"status": 400, "message": "Validation failed"})
        self.check(request.headers.get("user-agent") == UA, "the visitor's user agent")
        self.check(request.headers.get("x-client-ip") == "203.0.113.9", "the visitor's address")
        self.check(payload["name"] not in ("session_start", "session_end"), "reserved names")
        datetime.fromisoformat(properties["__timestamp"])
        self.check(len(properties.get("__deviceId", "")) <= 64, "device id of 64")
        revenue = properties.get("__revenue", 0)
        self.check(isinstance(revenue, int) and revenue >= 0, "revenue in minor units, none negative")
        self.check("__revenue" not in properties or payload["name"] == "revenue", "revenue is an event of its own")
        if number(body) in self.bots:
            return Reply(202, "bot")
        self.take(body)
        return Reply(200, {"deviceId": "d", "sessionId": "s"})
