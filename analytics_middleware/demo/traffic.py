"""Simulated visitors and their journeys through the demo blog, from a seeded random generator.

Nothing here knows of HTTP connections or clocks: `load` sends a journey's steps to a server, `history` adds their
pauses to a time of day.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

POSTS: Final = ("first-flush", "hot-water", "a-good-pot")

_WEBKIT: Final = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5"
_BLINK: Final = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0"
_BROWSERS: Final = (
    (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_BLINK} Safari/537.36", 34),
    (f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) {_WEBKIT} Mobile/15E148 Safari/604.1", 26),
    (f"Mozilla/5.0 (Linux; Android 10; K) {_BLINK} Mobile Safari/537.36", 20),
    (f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Safari/605.1.15", 12),
    ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", 8),
)
_CRAWLER: Final = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
_LANGUAGES: Final = (("en-GB,en;q=0.9", 50), ("en-US,en;q=0.9", 22), ("de-DE,de;q=0.9,en;q=0.5", 16), ("fr-FR,fr", 12))
_ARRIVALS: Final = (
    # Referrer, query of the landing page, weight.
    (None, "", 36),
    ("https://www.google.com/", "", 30),
    ("https://news.ycombinator.com/", "", 12),
    ("https://www.reddit.com/", "", 8),
    (None, "utm_source=newsletter&utm_medium=email&utm_campaign=sunday", 14),
)
_SEARCHES: Final = ("oolong", "hot", "clay", "green", "spring", "matcha", "pot")
_NAMES: Final = ("ann", "ben", "chloe", "dev", "elif", "finn", "grace", "hiro", "ines", "jan")


class Visitor(NamedTuple):
    """Somebody with a browser."""

    user_agent: str
    language: str
    """The value of Accept-Language."""
    address: str
    name: str | None = None
    """The user name, if they have an account."""
    crawler: bool = False


class Step(NamedTuple):
    """One request of a journey."""

    method: str
    path: str
    """Including the query."""
    form: dict[str, str] | None = None
    pause: float = 0.0
    """Seconds that the visitor waits before it."""


class Journey(NamedTuple):
    """What one visitor does, from arriving to leaving, without the requests that redirects cause."""

    visitor: Visitor
    referrer: str | None
    """The page on another site that led here."""
    steps: Sequence[Step]


class Traffic:
    """Endless journeys of a group of visitors, always the same for the same *seed*."""

    def __init__(self, seed: int = 1, visitors: int = 200) -> None:
        # Seeded to be repeatable; nothing needs it to be unpredictable.
        self._random = random.Random(seed)  # noqa: S311
        self._visitors = [self.visitor(number) for number in range(visitors)]

    def journeys(self) -> Iterator[Journey]:
        """Yield journeys without end."""
        while True:
            yield self.journey()

    def journey(self) -> Journey:
        """Return the next journey."""
        draw = self._random
        if draw.random() < 0.04:
            return self._crawl()
        return self.journey_of(draw.choice(self._visitors))

    def journey_of(self, visitor: Visitor) -> Journey:
        """Return the next journey of *visitor*."""
        draw = self._random
        referrer, campaign, _ = draw.choices(_ARRIVALS, [weight for *_, weight in _ARRIVALS])[0]
        plays = (
            (self._read, 44),
            (self._search, 20),
            (self._buy, 14),
            (self._subscribe, 10),
            (self._stray, 8),
            (self._misfortune, 4),
        )
        play = draw.choices([play for play, _ in plays], [weight for _, weight in plays])[0]
        steps = play(visitor)
        first = steps[0]
        if campaign:
            steps[0] = first._replace(path=f"{first.path}{'&' if '?' in first.path else '?'}{campaign}")
        return Journey(visitor, referrer, steps)

    def grand_tour(self) -> Journey:
        """Return a journey that visits everything once: every kind of event, revenue, and an error."""
        visitor = Visitor(_BROWSERS[0][0], _LANGUAGES[0][0], "203.0.113.7", "ann")
        steps = [
            Step("GET", "/"),
            Step("GET", f"/posts/{POSTS[0]}"),
            _search_for("hot"),
            Step("GET", "/archive"),
            Step("GET", "/quote"),
            Step("GET", "/newsletter"),
            Step("POST", "/subscribe", {"email": "ann@example.com"}),
            *_sign_in("ann"),
            Step("GET", "/checkout"),
            Step("POST", "/purchase", {"plan": "yearly"}),
            Step("POST", "/sign-out", {}),
            Step("GET", "/posts/no-such-post"),
            Step("GET", "/broken"),
        ]
        return Journey(visitor, "https://www.google.com/", steps)

    def visitor(self, number: int) -> Visitor:
        """Return a new visitor."""
        draw = self._random
        # 198.18.0.0/15 is reserved for network tests (RFC 2544), so nobody has such an address.
        address = f"198.18.{draw.randrange(256)}.{draw.randrange(1, 255)}"
        name = f"{_NAMES[number % len(_NAMES)]}-{number}" if draw.random() < 0.3 else None
        return Visitor(self._weighted(_BROWSERS), self._weighted(_LANGUAGES), address, name)

    def _weighted(self, options: Sequence[tuple[str, int]]) -> str:
        return self._random.choices([each for each, _ in options], [weight for _, weight in options])[0]

    def _pause(self) -> float:
        return round(min(self._random.expovariate(1 / 25), 300.0), 1)

    def _get(self, path: str) -> Step:
        return Step("GET", path, pause=self._pause())

    def _post_page(self) -> Step:
        return self._get(f"/posts/{self._random.choice(POSTS)}")

    def _read(self, visitor: Visitor) -> list[Step]:
        # Most readers land on a post and leave; some look around.
        steps = [self._post_page() if self._random.random() < 0.5 else self._get("/")]
        while self._random.random() < 0.55 and len(steps) < 6:
            steps.append(self._random.choice((self._post_page(), self._get("/archive"), self._get("/quote"))))
        return steps

    def _search(self, visitor: Visitor) -> list[Step]:
        searched = _search_for(self._random.choice(_SEARCHES))._replace(pause=self._pause())
        return [self._get("/"), searched, self._post_page()]

    def _buy(self, visitor: Visitor) -> list[Step]:
        steps = self._search(visitor) if self._random.random() < 0.5 else self._read(visitor)
        if visitor.name is not None:
            steps[1:1] = _sign_in(visitor.name)
        steps.append(self._get("/checkout"))
        if self._random.random() < 0.6:
            plan = "yearly" if self._random.random() < 0.4 else "monthly"
            steps.append(Step("POST", "/purchase", {"plan": plan}, self._pause()))
        return steps

    def _subscribe(self, visitor: Visitor) -> list[Step]:
        email = f"{visitor.name or 'reader'}@example.com"
        return [self._post_page(), self._get("/newsletter"), Step("POST", "/subscribe", {"email": email}, 12.0)]

    def _stray(self, visitor: Visitor) -> list[Step]:
        return [self._get("/posts/no-such-post"), self._get("/")]

    def _misfortune(self, visitor: Visitor) -> list[Step]:
        return [self._get("/"), self._get("/broken")]

    def _crawl(self) -> Journey:
        crawler = Visitor(_CRAWLER, "", "198.19.0.1", crawler=True)
        return Journey(crawler, None, [Step("GET", "/"), *(Step("GET", f"/posts/{post}", pause=1.0) for post in POSTS)])


def _search_for(text: str) -> Step:
    return Step("GET", f"/search?{urlencode({'q': text})}")


def _sign_in(name: str) -> list[Step]:
    return [Step("GET", "/login"), Step("POST", "/sign-in", {"name": name}, 5.0)]
