"""A receiver of CloudEvents over HTTP."""

import re
from datetime import datetime
from typing import Any

from analytics_middleware.collectors.cloudevents import CloudEventsCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor, number


class CloudEvents(Vendor):
    name = "cloudevents"

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def make(self, url: str, **options: Any) -> CloudEventsCollector:
        headers = {"authorization": f"Bearer {SECRET}"}
        return CloudEventsCollector(f"{url}/in", **{"source": "/shop", "headers": headers, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/in", "path")
        self.check(request.headers["authorization"] == f"Bearer {SECRET}", "headers")
        kind = request.headers["content-type"]
        events = request.json if kind.startswith("application/cloudevents-batch+json") else [request.json]
        self.check(kind.startswith("application/cloudevents"), "content type")
        for event in events:
            self.check({"id", "source", "specversion", "type"} <= event.keys(), "required attributes")
            self.check(event["specversion"] == "1.0", "1.0")
            self.check(all(re.fullmatch(r"[a-z0-9]{1,20}", key) for key in event), "names of attributes")
            datetime.fromisoformat(event["time"])
            self.check(len(request.body) <= 64 * 1024 or len(events) > 1, "64 KiB")
            if number(event["data"]) in self.refuse:
                return Reply(400, "no")
        self.events += events
        self.take(*(event["data"] for event in events))
        return Reply(202)
