"""A receiver of Standard Webhooks 1.0."""

import base64
import hashlib
import hmac
import time
from typing import Any

from analytics_middleware.collectors.webhook import WebhookCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor, number

KEY = "whsec_" + base64.b64encode(SECRET.encode() * 2).decode()


class Webhook(Vendor):
    name = "webhook"

    def make(self, url: str, **options: Any) -> WebhookCollector:
        return WebhookCollector(f"{url}/hook/?from=shop", **{"secret": KEY, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.target == "/hook/?from=shop", "the URL as given")
        message_id, timestamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        self.check("." not in message_id, "an id has no dot")
        self.check(abs(int(timestamp) - time.time()) < 300, "a timestamp of this attempt")
        signed = f"{message_id}.{timestamp}.".encode() + request.raw
        mac = hmac.new(base64.b64decode(KEY.removeprefix("whsec_")), signed, hashlib.sha256).digest()
        self.check(f"v1,{base64.b64encode(mac).decode()}" in request.headers["webhook-signature"].split(), "signature")
        for event in request.json:
            if number(event) in self.refuse:
                return Reply(422, {"error": "I can't take one of these"})
        self.take(*request.json)
        return Reply(204)
