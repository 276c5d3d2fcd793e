"""PostHog's batch endpoint, v0."""

import json
import uuid
from datetime import datetime
from typing import Any

from analytics_middleware.collectors.posthog import PostHogCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor

KEY = f"phc_{SECRET}"


class PostHog(Vendor):
    name = "posthog"
    users = True

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []

    def make(self, url: str, **options: Any) -> PostHogCollector:
        return PostHogCollector(KEY, **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/batch/", "path")
        self.check(len(request.body) < 20_000_000, "20 MB")
        body = request.json
        self.bodies.append(body)
        if body["api_key"] != KEY:
            return Reply(401, "API key not valid")
        self.check(isinstance(body["historical_migration"], bool), "historical_migration")
        datetime.fromisoformat(body["sent_at"])
        for item in body["batch"]:
            uuid.UUID(item["uuid"])
            datetime.fromisoformat(item["timestamp"])
            self.check(item["event"] and item["distinct_id"], "a name and an id")
            self.check(len(item["distinct_id"]) <= 200 and len(item["event"]) <= 200, "an id and a name of 200")
            self.check(
                item["distinct_id"].lower() not in ("anonymous", "null", "guest", "0", "none"), "an id of somebody"
            )
            self.check(len(json.dumps(item, ensure_ascii=False).encode()) < 900 * 1024, "900 KiB an event")
            self.check(item["event"] not in ("$identify", "$set") or item["properties"].get("$set") is not None, "$set")
        self.take(*(item for item in body["batch"] if item["event"] not in ("$identify", "$set")))
        return Reply(200, {"status": "Ok"})
