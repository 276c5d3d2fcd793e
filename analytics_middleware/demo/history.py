"""Invents events of past visitors, some of whom come back, for the demo's dashboard."""

import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from hashlib import blake2b
from typing import Final, NamedTuple

from analytics_middleware.demo.traffic import Journey, Step, Traffic, Visitor
from analytics_middleware.event import Event, EventType, Identify
from analytics_middleware.event import Visit as About
from analytics_middleware.money import Money
from analytics_middleware.web.saved import Annotation, Saved, SavedFilter, SavedFunnel

DAYS: Final = 65
"""Enough to compare the last thirty days with the thirty before, and for weekly cohorts."""

_HOURS: Final = (2, 1, 1, 1, 1, 2, 4, 7, 11, 14, 15, 15, 14, 14, 15, 15, 14, 13, 13, 14, 15, 13, 9, 5)
_HABITS: Final = ((0.0, 58), (0.06, 24), (0.22, 13), (0.5, 5))
"""The probability that somebody comes back on a day, and the weight of such visitors."""
_MEMBERS: Final = 0.45
_COUNTRIES: Final = {
    "en-GB": (("GB", "London"), ("GB", "Leeds"), ("IE", "Dublin")),
    "en-US": (("US", "Portland"), ("US", "Chicago"), ("CA", "Toronto")),
    "de-DE": (("DE", "Berlin"), ("DE", "Hamburg"), ("AT", "Vienna")),
    "fr-FR": (("FR", "Lyon"), ("FR", "Paris"), ("BE", "Liège")),
}
_BROWSERS: Final = (
    ("Firefox/", ("Firefox", "Linux", "desktop")),
    ("iPhone", ("Mobile Safari", "iOS", "mobile")),
    ("Android", ("Chrome Mobile", "Android", "mobile")),
    ("Windows", ("Chrome", "Windows", "desktop")),
    ("Macintosh", ("Safari", "macOS", "desktop")),
)
_SOURCES: Final = {
    "https://www.google.com/": ("Google", "Organic Search"),
    "https://news.ycombinator.com/": ("Hacker News", "Referral"),
    "https://www.reddit.com/": ("Reddit", "Organic Social"),
}
_CATEGORIES: Final = {"first-flush": "green", "hot-water": "craft", "a-good-pot": "craft"}
_PRICES: Final = {"monthly": "3.50", "yearly": "29.99"}


class _Person(NamedTuple):
    visitor: Visitor
    user_id: str | None
    since: int
    habit: float


def month(now: datetime, *, seed: int = 1, busy: int = 26) -> Iterator[Event | Identify]:
    """Yield events of the `DAYS` before *now*, day by day; about *busy* new visitors come each day."""
    # Seeded to be repeatable; nothing needs it to be unpredictable.
    draw = random.Random(seed)  # noqa: S311
    traffic = Traffic(seed, visitors=0)
    people: list[_Person] = []
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for day in range(DAYS + 1):
        begin = midnight - timedelta(days=DAYS - day)
        # The blog grows, is quieter at weekends, and is linked to now and then.
        weekend = 0.62 if begin.weekday() >= 5 else 1.0
        luck = 1.9 if day in (38, 39, 56) else draw.uniform(0.85, 1.15)
        arrivals = round(busy * weekend * luck * (0.95 + 0.15 * day / DAYS))
        coming = [each for each in people if draw.random() < each.habit * 0.985 ** (day - each.since) * weekend]
        for _ in range(arrivals):
            number = len(people)
            visitor = traffic.visitor(number)
            member = visitor.name if visitor.name and draw.random() < 2 * _MEMBERS else None
            habit = draw.choices([rate for rate, _ in _HABITS], [weight for _, weight in _HABITS])[0]
            people.append(_Person(visitor, member, day, habit + (0.08 if member else 0.0)))
            coming.append(people[-1])
        for person in coming:
            hour = draw.choices(range(24), _HOURS)[0]
            at = begin + timedelta(hours=hour, seconds=draw.uniform(0, 3600))
            yield from _played(traffic.journey_of(person.visitor), person, at, now, draw)


def _played(
    journey: Journey, person: _Person, at: datetime, now: datetime, draw: random.Random
) -> Iterator[Event | Identify]:
    visitor, user_id = person.visitor, person.user_id
    about = _about(journey)
    anon_id = f"cl_{blake2b(f'{visitor.address}{at:%j}'.encode(), digest_size=9).hexdigest()}"
    referrer = journey.referrer
    for step in journey.steps:
        at += timedelta(seconds=step.pause + 0.4)
        if at >= now - timedelta(seconds=1):
            return
        if step.path == "/sign-in" and step.form:
            user_id = step.form["name"]
            traits = {"name": user_id.partition("-")[0].title(), "plan": "member" if person.habit > 0.2 else "free"}
            yield Identify(user_id=user_id, traits=dict(traits), timestamp=at)
        for event in _events(step):
            event.timestamp = at
            event.user_id, event.anon_id = user_id, anon_id
            event.hostname, event.locale = "kettle.example", visitor.language[:5]
            event.user_agent, event.visit = visitor.user_agent, about
            event.method, event.referrer = step.method, referrer
            event.duration = round(draw.uniform(0.004, 0.05), 4)
            yield event
            # One after the other, or the page after a purchase would be the last before it, too.
            at += timedelta(seconds=0.1)
        referrer = None


def _events(step: Step) -> list[Event]:
    """Return the events that the blog's views record for a request."""
    path, _, query = step.path.partition("?")
    slug = path.removeprefix("/posts/")
    form = step.form or {}
    if path == "/search":
        searched = {"query": query.removeprefix("q=").partition("&")[0]}
        return [
            Event(
                event_name="search.submitted",
                path=path,
                matched_pattern=path,
                properties=dict(searched),
                status_code=200,
            )
        ]
    if path == "/purchase":
        plan = form.get("plan", "monthly")
        bought = _action("purchase", path)
        bought.properties, bought.revenue = {"plan": plan}, Money(_PRICES[plan], "GBP")
        return [bought, _page("/thanks", "/thanks")]
    if path == "/subscribe":
        joined = Event(event_name="newsletter.joined", path=path, matched_pattern=path, properties={"list": "weekly"})
        return [_action("subscribe", path), joined]
    if step.method == "POST":
        return [_action(path[1:].replace("-", "_"), path)]
    if slug != path:
        page = _page(path, "/posts/{slug}", 200 if slug in _CATEGORIES else 404)
        page.properties = {"category": _CATEGORIES[slug]} if slug in _CATEGORIES else {}
        return [page]
    return [_page(path, path, 500 if path == "/broken" else 200)]


def _page(path: str, pattern: str, status: int = 200) -> Event:
    url = f"https://kettle.example{path}"
    return Event(type=EventType.PAGEVIEW, path=path, url=url, matched_pattern=pattern, status_code=status)


def _action(name: str, path: str) -> Event:
    return Event(type=EventType.ACTION, action_name=name, path=path, matched_pattern=path, status_code=303)


def _about(journey: Journey) -> About:
    visitor = journey.visitor
    browser, os, device = next(
        (found for mark, found in _BROWSERS if mark in visitor.user_agent), ("Chrome", "Windows", "desktop")
    )
    places = _COUNTRIES[visitor.language[:5]]
    country, city = places[sum(visitor.address.encode()) % len(places)]
    source, channel = _SOURCES.get(journey.referrer or "", (None, "Direct"))
    campaign = "sunday" if "utm_campaign=sunday" in journey.steps[0].path else None
    if campaign and journey.referrer is None:
        source, channel = "newsletter", "Email"
    return About(
        browser=browser, os=os, device=device, country=country, city=city, source=source, channel=channel,
        campaign=campaign,
    )  # fmt: skip


def keep_examples(saved: Saved, today: date) -> None:
    """Save what a user of the dashboard might save: funnels, filters and annotations."""
    steps = ("pageview", "search.submitted", "purchase")
    saved.save(SavedFunnel(name="From a search to a purchase", steps=steps, window="7d"))
    social = {"field": "channel", "op": "eq", "value": "Organic Social"}
    saved.save(SavedFilter(name="From social networks", where=(social,)))
    saved.annotate(Annotation(day=today - timedelta(days=9), text="The newsletter went out"))
