"""Matomo's bulk tracking: counts in the body, no names."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from analytics_middleware.collectors.matomo import MatomoCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor, number


class Matomo(Vendor):
    name = "matomo"

    def __init__(self) -> None:
        super().__init__()
        self.hits: list[dict[str, str]] = []
        self.skip = 0
        """How many of the next request to skip without a word, as on a lock wait time-out."""
        self.indices = True

    def make(self, url: str, **options: Any) -> MatomoCollector:
        return MatomoCollector(f"{url}/stats/", 3, **{"token_auth": SECRET, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/stats/matomo.php", "path")
        body = request.json
        self.check(body.get("token_auth") in (SECRET, None), "token")
        hits = [{key: values[0] for key, values in parse_qs(hit.lstrip("?")).items()} for hit in body["requests"]]
        times: list[datetime] = []
        invalid: list[int] = []
        for index, hit in enumerate(hits):
            self.check(hit["idsite"] == "3" and hit["rec"] == "1" and hit["url"], "site, rec and url")
            self.check(re.fullmatch(r"[0-9a-f]{16}", hit["cid"]), "cid of 16 hex digits")
            self.check("cip" not in hit or body.get("token_auth"), "cip needs a token")
            self.check(("e_c" in hit) == ("e_a" in hit) == ("ca" in hit), "events are marked")
            self.check("revenue" not in hit or "idgoal" in hit, "revenue belongs to a goal")
            times.append(datetime.strptime(hit["cdt"], "%Y-%m-%d %H:%M:%S"))
            if number(hit) in self.refuse:
                invalid.append(index)
        self.check(times == sorted(times), "the oldest first")
        taken = [hit for index, hit in enumerate(hits) if index not in invalid]
        taken, self.skip = taken[: len(taken) - self.skip], 0
        self.hits += taken
        self.take(*taken)
        said: dict[str, Any] = {"status": "success", "tracked": len(taken), "invalid": len(invalid)}
        if self.indices and invalid:
            said["invalid_indices"] = invalid
        return Reply(200, said)
