"""An OTLP/HTTP receiver of logs in JSON."""

from typing import Any

from analytics_middleware.collectors.otlp import OTLPCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor


def value_of(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "arrayValue":
        return [value_of(each) for each in content["values"]]
    return int(content) if kind == "intValue" else content


class OTLP(Vendor):
    name = "otlp"
    final = frozenset({"500"})

    def __init__(self) -> None:
        super().__init__()
        self.records: list[dict[str, Any]] = []
        self.reject = 0

    def make(self, url: str, **options: Any) -> OTLPCollector:
        return OTLPCollector(url, **{"headers": {"x-api-key": SECRET}, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/v1/logs", "path")
        self.check(request.headers["x-api-key"] == SECRET, "headers")
        (resource,) = request.json["resourceLogs"]
        self.check(resource["resource"]["attributes"][0]["key"] == "service.name", "service.name")
        (scope,) = resource["scopeLogs"]
        records = scope["logRecords"]
        for record in records:
            self.check(isinstance(record["timeUnixNano"], str) and len(record["timeUnixNano"]) == 19, "nanoseconds")
            self.check(record["eventName"].startswith("analytics."), "eventName")
            names = [attribute["key"] for attribute in record["attributes"]]
            self.check(len(names) == len(set(names)), "each attribute once")
            flat = {attribute["key"]: value_of(attribute["value"]) for attribute in record["attributes"]}
            self.records.append({**record, "flat": flat})
        rejected, self.reject = min(self.reject, len(records)), 0
        self.take(*(record["attributes"] for record in records[: len(records) - rejected]))
        if rejected:
            said = {"rejectedLogRecords": str(rejected), "errorMessage": "too old"}
            return Reply(200, {"partialSuccess": said})
        return Reply(200, {})
