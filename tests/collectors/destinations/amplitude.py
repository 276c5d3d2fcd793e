"""Amplitude's HTTP V2 API: everything of a request or nothing."""

from typing import Any

from analytics_middleware.collectors.amplitude import AmplitudeCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor, number


class Amplitude(Vendor):
    name = "amplitude"
    users = True

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.throttle: set[int] = set()
        self.quota_users: set[str] = set()

    def make(self, url: str, **options: Any) -> AmplitudeCollector:
        return AmplitudeCollector(SECRET, **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/2/httpapi", "path")
        self.check(len(request.body) < 1_000_000, "1 MB")
        body = request.json
        self.bodies.append(body)
        if body["api_key"] != SECRET:
            return Reply(400, {"code": 400, "error": "Invalid API key"})
        events = body["events"]
        self.check(len(events) < 2000, "2000 events")
        for event in events:
            self.check(event["event_type"], "event_type")
            ids = [event[key] for key in ("user_id", "device_id") if event.get(key) is not None]
            self.check(ids, "an id")
            least = body["options"].get("min_id_length", 5)
            self.check(all(least <= len(each) <= 1024 for each in ids), "ids long enough")
            self.check(
                not {"anonymous", "null", "undefined", "none", "0"} & {each.lower() for each in ids}, "no banned id"
            )
            self.check(len(event["event_type"]) <= 1024, "event_type of 1024")
            self.check(1e12 < event["time"] < 3e12 and isinstance(event["time"], int), "milliseconds")
            self.check(event["insert_id"], "insert_id")
            texts = [text for text in event.get("event_properties", {}).values() if isinstance(text, str)]
            self.check(all(len(text) <= 1024 for text in texts), "texts of 1024")
        tracked = [(index, event) for index, event in enumerate(events) if event["event_type"] != "$identify"]
        # Only the first event at fault is named for each field.
        bad = [index for index, event in tracked if number(event) in self.refuse][:1]
        if bad:
            fault = {"events_with_invalid_fields": {"time": bad}, "error": "Request missing required field"}
            return Reply(400, {"code": 400, **fault})
        throttled = [index for index, event in tracked if number(event) in self.throttle]
        quota = {event["user_id"]: 500001 for event in events if event.get("user_id") in self.quota_users}
        if throttled or quota:
            self.throttle.clear()
            lists = {"throttled_events": throttled, "exceeded_daily_quota_users": quota}
            return Reply(429, {"code": 429, "error": "Too many requests for some devices and users", **lists})
        self.take(*(event for _, event in tracked))
        return Reply(200, {"code": 200, "events_ingested": len(events)})
