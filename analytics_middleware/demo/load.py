"""A bounded load generator: plays journeys against a server on this machine, at a given rate."""

import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlencode

from analytics_middleware.demo.traffic import Journey, Step, Visitor

_TIMEOUT = 5.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class Load:
    """Plays *journeys*: *workers* visitors at the same time, at most *rate* requests a second in total.

    `answers` counts responses by status, and requests without a response as ``"failed"``.
    """

    def __init__(self, port: int, journeys: Iterator[Journey], *, rate: float, workers: int = 8) -> None:
        self.answers: Counter[int | str] = Counter()
        self._port = port
        self._journeys = journeys
        self._interval = 1 / rate
        self._slot = 0.0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        # Daemon threads, so that a hanging server doesn't keep the process alive.
        self._threads = [
            threading.Thread(target=self._work, name=f"visitor-{number}", daemon=True) for number in range(workers)
        ]

    def start(self) -> None:
        """Start sending requests."""
        self._slot = time.monotonic()
        for thread in self._threads:
            thread.start()

    def wait(self, timeout: float) -> bool:
        """Wait until every journey is over, at most *timeout* seconds; return whether they are."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self, timeout: float = 0.5) -> None:
        """Send no more requests, and wait up to *timeout* seconds for those in progress."""
        self._stop.set()
        self.wait(timeout)

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                journey = next(self._journeys, None)
            if journey is None:
                return
            self._play(journey)

    def _play(self, journey: Journey) -> None:
        browser = _Browser(self._port, journey.visitor, journey.referrer)
        try:
            for step in journey.steps:
                following: Step | None = step
                # Follow redirects like a browser, but not endlessly.
                for _ in itertools.repeat(None, 5):
                    if following is None or not self._may_go_on():
                        break
                    following = self._send(browser, following)
                if self._stop.is_set():
                    return
        finally:
            browser.close()

    def _send(self, browser: "_Browser", step: Step) -> Step | None:
        try:
            status, following = browser.send(step)
        except (OSError, http.client.HTTPException):
            browser.close()
            self._count("failed")
            return None
        self._count(status)
        return following

    def _count(self, answer: int | str) -> None:
        with self._lock:
            self.answers[answer] += 1

    def _may_go_on(self) -> bool:
        """Wait for the next free slot of the rate that all visitors share."""
        with self._lock:
            slot = self._slot = max(self._slot + self._interval, time.monotonic())
        return not self._stop.wait(max(0.0, slot - time.monotonic()))


class _Browser:
    """One visitor's connection, cookies and last page."""

    def __init__(self, port: int, visitor: Visitor, referrer: str | None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        self._origin = f"http://127.0.0.1:{port}"
        self._visitor = visitor
        self._referrer = referrer
        self._cookies: dict[str, str] = {}

    def send(self, step: Step) -> tuple[int, Step | None]:
        """Return the response's status and, for a redirect, the next step."""
        body = None if step.form is None else urlencode(step.form)
        self._connection.request(step.method, step.path, body, self._headers(body))
        response = self._connection.getresponse()
        response.read()
        self._keep_cookies(response)
        if step.method == "GET":
            self._referrer = self._origin + step.path
        location = response.headers.get("Location") if response.status in _REDIRECTS else None
        if location is None:
            return response.status, None
        return response.status, Step("GET", location.removeprefix(self._origin))

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self._connection.close()

    def _headers(self, body: str | None) -> dict[str, str]:
        visitor = self._visitor
        headers = {
            "User-Agent": visitor.user_agent,
            "Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
            "X-Forwarded-For": visitor.address,
        }
        if not visitor.crawler:
            headers |= {"Sec-Fetch-Dest": "document", "Accept-Language": visitor.language}
        if self._referrer is not None:
            headers["Referer"] = self._referrer
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        return headers

    def _keep_cookies(self, response: http.client.HTTPResponse) -> None:
        for header in response.headers.get_all("Set-Cookie", []):
            pair, *attributes = header.split(";")
            name, _, value = pair.partition("=")
            gone = any(
                each.strip().lower() == "max-age=0" or "=thu, 01 jan 1970" in each.lower() for each in attributes
            )
            if gone or not value:
                self._cookies.pop(name, None)
            else:
                self._cookies[name] = value
