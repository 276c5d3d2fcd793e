"""Alerts: read once and strictly, asked like any question, told once to everybody, and again when that failed."""

import base64
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from destinations.server import Reply, Server
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_middleware import Analytics, ConfigurationError, DeliveryError, Event, Money, Settings
from analytics_middleware.collectors import BatchCollector
from analytics_middleware.event import Visit
from analytics_middleware.outbox.database import Database
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.reports.alert import Measured, read_alerts
from analytics_middleware.reports.alert_message import alert_message
from analytics_middleware.reports.alert_states import CLAIM, AlertState, AlertStates, DueMessage
from analytics_middleware.reports.checking import Outcome, check
from analytics_middleware.reports.number import Number
from analytics_middleware.reports.pipeline import PipelineHealth
from analytics_middleware.reports.schedule import checking_alerts
from analytics_middleware.store import Count, FunnelStep, RevenueTotal, Totals

NOW = datetime(2025, 3, 12, 12, tzinfo=UTC)
HOUR = 3600.0
PLAIN: dict[str, Any] = {"name": "orders", "question": "volume", "number": "count", "below": 3, "to": ["a@b.example"]}


def mute(*_words: str) -> None:
    """Takes e-mail and keeps none."""


def order(hours: float, **fields: Any) -> Event:
    fields = {"event_name": "order", "user_id": "ann", **fields}
    return Event(timestamp=NOW + timedelta(hours=hours), **fields)


class Shop:
    """Analytics in a directory, its alerts going to a loopback webhook, and a clock that is set by hand."""

    def __init__(self, directory: Path, hook: Server) -> None:
        self.directory = directory
        self.hook = hook
        self.time = NOW.timestamp()
        self.made: list[Analytics] = []

    def open(self, *alerts: dict[str, Any], **settings: Any) -> Analytics:
        to = [{"url": f"{self.hook.url}/hidden-path", "allow_http": True, "allow_private": True}]
        given = [{**PLAIN, "to": to, **alert} for alert in alerts or ({},)]
        analytics = Analytics(data_dir=self.directory, enabled=True, alerts=given, **settings)
        self.made.append(analytics)
        return analytics

    def check(self, analytics: Analytics, *, every: float = 0.0) -> list[Outcome]:
        database = Database(self.directory)
        try:
            return list(check(analytics, database, every=every, clock=lambda: self.time))
        finally:
            database.close()

    def said(self) -> list[str]:
        """The states of the messages that came."""
        return [request.json["data"]["state"] for request in self.hook.requests]

    def has(self, analytics: Analytics, *events: Event) -> None:
        for event in events:
            analytics.track(event)
        assert analytics.flush(20)


@pytest.fixture
def shop(tmp_path: Path, hook: Server) -> Iterator[Shop]:
    made = Shop(tmp_path / "data", hook)
    yield made
    for each in made.made:
        each.close()


def test_it_fires_once_reminds_after_the_quiet_period_and_says_when_it_is_over(shop: Shop) -> None:
    analytics = shop.open({"quiet": "2h"})
    shop.has(analytics, order(-1), order(-2))
    [outcome] = shop.check(analytics)
    assert (outcome.firing, outcome.value, outcome.failures) == (True, 2.0, [])
    for hours, said in ((1, 1), (0.9, 1), (0.2, 2), (1.9, 2)):
        shop.time += hours * HOUR
        shop.check(analytics)
        assert shop.said() == ["firing"] * said
    shop.has(analytics, order(3), order(3.1), order(3.2))
    [outcome] = shop.check(analytics)
    assert (outcome.firing, outcome.value) == (False, 5.0)
    shop.check(analytics)
    assert shop.said() == ["firing", "firing", "resolved"]
    ids = [request.headers["webhook-id"] for request in shop.hook.requests]
    assert len(set(ids)) == 3, "each is a message of its own"


def test_what_comes_and_goes_within_the_quiet_period_is_told_once(shop: Shop) -> None:
    analytics = shop.open({"quiet": "6h", "window": "1h"})
    shop.has(analytics, *(order(at) for at in (0.5, 0.6, 0.7)), *(order(at) for at in (2.5, 2.6, 2.7)))
    for hours in (0, 1, 2, 3, 4):
        shop.time = (NOW + timedelta(hours=hours)).timestamp()
        shop.check(analytics)
    assert shop.said() == ["firing", "resolved"], "at 12:00 it fires, at 13:00 not, and so on until 18:00"
    shop.time = (NOW + timedelta(hours=6)).timestamp()
    shop.check(analytics)
    assert shop.said() == ["firing", "resolved", "firing"]


def test_a_failed_message_is_counted_and_tried_again_at_the_next_check(shop: Shop) -> None:
    analytics = shop.open()
    shop.hook.handler = lambda _request: Reply(503, "hidden-path is down")
    for _ in range(2):
        [outcome] = shop.check(analytics)
        assert outcome.sent == []
        assert outcome.failures[0].startswith(f"not sent: {shop.hook.url} answered 503")
        shop.time += 60
    shop.hook.handler = lambda _request: Reply()
    [outcome] = shop.check(analytics)
    assert (outcome.failures, len(outcome.sent)) == ([], 1)
    shop.check(analytics)
    assert len(shop.hook.requests) == 3
    assert len({request.headers["webhook-id"] for request in shop.hook.requests}) == 1, "a repeat can be recognised"
    told = AlertStates(Database(shop.directory)).messages("orders")
    assert (told.sent, told.failed, told.last_error) == (1, 2, None)


@pytest.mark.parametrize("by", ["mail", "webhook"])
def test_who_may_have_been_told_that_it_fires_is_told_that_it_is_over(shop: Shop, by: str) -> None:
    said: list[str] = []

    def mail(_to: str, subject: str, *_rest: str) -> None:
        said.append(subject.partition(":")[0].lower())
        if len(said) == 1:
            raise TimeoutError("no answer to the end of DATA")

    if by == "mail":
        analytics = shop.open({"to": ["ops@shop.example"]}, mail=mail)
    else:
        analytics = shop.open()
        shop.hook.handler = lambda _request: lambda _received, line: line.reset()
    [outcome] = shop.check(analytics)
    assert (outcome.sent, len(outcome.failures)) == ([], 1)
    shop.hook.handler = lambda _request: Reply()
    shop.has(analytics, *(order(-number) for number in (1, 2, 3)))
    shop.time += 60
    for _ in range(2):
        shop.check(analytics)
    assert (said if by == "mail" else shop.said()) == ["firing", "resolved"]


def test_who_refused_to_be_told_that_it_fires_is_not_told_that_it_is_over(shop: Shop) -> None:
    analytics = shop.open()
    shop.hook.handler = lambda _request: Reply(503)
    shop.check(analytics)
    shop.has(analytics, *(order(-number) for number in (1, 2, 3)))
    shop.time += 60
    shop.check(analytics)
    assert shop.said() == ["firing"]


def test_one_destination_that_fails_costs_another_nothing(shop: Shop) -> None:
    taken: list[str] = []
    to = [{"url": f"{shop.hook.url}/x", "allow_http": True, "allow_private": True}, "ops@shop.example"]
    analytics = shop.open({"to": to}, mail=lambda to, *_words: taken.append(to))
    shop.hook.handler = lambda _request: Reply(500)
    for _ in range(3):
        [outcome] = shop.check(analytics)
        assert len(outcome.failures) == 1
    assert taken == ["ops@shop.example"]


def test_webhooks_that_differ_only_in_headers_or_secret_are_each_told(shop: Shop) -> None:
    hook = {"url": f"{shop.hook.url}/x", "allow_http": True, "allow_private": True}
    secrets = ["whsec_" + base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]
    options: list[dict[str, Any]] = [
        {},
        {"headers": {"x-channel": "ops-canary"}},
        {"headers": {"x-channel": "sales-canary"}},
        {"secret": secrets[0]},
        {"secret": [Secret(secrets[1]), secrets[0]]},
    ]
    analytics = shop.open({"to": [{**hook, **each} for each in options]})
    [outcome] = shop.check(analytics)
    assert (len(set(outcome.sent)), outcome.failures) == (5, [])
    told = [
        (request.headers.get("x-channel"), "webhook-signature" in request.headers) for request in shop.hook.requests
    ]
    assert told == [(None, False), ("ops-canary", False), ("sales-canary", False), (None, True), (None, True)]
    [again] = shop.check(shop.open({"to": [{**hook, **each} for each in options]}))
    assert again.sent == [], "each is known again"
    assert not [hidden for hidden in ("canary", *secrets) if hidden in repr((outcome.sent, analytics.settings))]


def test_a_question_that_fails_costs_the_other_alerts_nothing(shop: Shop) -> None:
    analytics = shop.open({"name": "broken", "parameters": {"tz": "Mars/Olympus"}}, {})
    broken, orders = shop.check(analytics)
    assert "Mars/Olympus" in broken.failures[0]
    assert "\n" not in broken.failures[0]
    assert orders.firing
    assert shop.said() == ["firing"]


def test_many_checks_at_once_send_one_message(shop: Shop) -> None:
    """Each with its own view of the database, as processes have."""
    workers = [shop.open() for _ in range(6)]
    ready = threading.Barrier(len(workers))
    outcomes: list[Outcome] = []

    def work(analytics: Analytics) -> None:
        ready.wait(20)
        outcomes.extend(shop.check(analytics))

    threads = [threading.Thread(target=work, args=(each,)) for each in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 6
    assert shop.said() == ["firing"]


def test_who_checked_a_moment_ago_is_not_followed_by_another_worker(shop: Shop) -> None:
    analytics = shop.open()
    assert len(shop.check(analytics, every=60)) == 1
    shop.time += 59
    assert shop.check(analytics, every=60) == []
    shop.time += 2
    assert len(shop.check(analytics, every=60)) == 1


def test_a_worker_checks_on_a_schedule(shop: Shop) -> None:
    came = threading.Event()
    shop.hook.handler = lambda _request: came.set() or Reply()
    analytics = shop.open()
    with checking_alerts(analytics, analytics.outbox.database, every=0.01):  # type: ignore[attr-defined]
        assert came.wait(20)
    assert shop.said() == ["firing"]


def test_the_worker_of_a_site_without_alerts_starts_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    with checking_alerts(Analytics(enabled=True), Database(tmp_path)):
        assert threading.active_count() == before
    assert list(tmp_path.iterdir()) == []


# Who has been told, in itself.


@pytest.fixture
def states(tmp_path: Path) -> Iterator[AlertStates]:
    database = Database(tmp_path)
    yield AlertStates(database)
    database.close()


def test_a_message_whose_sender_died_is_sent_after_its_claim_ran_out(states: AlertStates) -> None:
    states.record("a", True, 1.0, None, 1000.0)
    due = states.claim("a", "x", 60, 1000.0)
    assert due is not None
    assert states.claim("a", "x", 60, 1000.0 + CLAIM - 1) is None
    again = states.claim("a", "x", 60, 1000.0 + CLAIM + 1)
    assert again is not None
    assert again.id == due.id


def test_who_may_have_been_told_by_a_sender_that_died_is_told_that_it_is_over(states: AlertStates) -> None:
    states.record("a", True, 1.0, None, 1000.0)
    assert states.claim("a", "x", 60, 1000.0) is not None
    states.record("a", False, 5.0, None, 1060.0)
    due = states.claim("a", "x", 60, 1000.0 + CLAIM + 1)
    assert due is not None
    assert not due.state.firing


def test_a_clock_that_was_set_back_silences_nobody(states: AlertStates) -> None:
    states.record("a", True, 1.0, None, 10_000.0)
    due = states.claim("a", "x", 3600, 10_000.0)
    assert due is not None
    states.sent("a", "x", due, 10_000.0)
    assert states.claim("a", "x", 3600, 10_001.0) is None
    assert states.claim("a", "x", 3600, 5_000.0) is not None
    states.record("b", False, 1.0, None, 10_000.0)
    assert states.record("b", True, 5.0, None, 5_000.0) == AlertState(True, 5_000.0, 5_000.0, 5.0, None)


def test_what_was_found_later_counts(states: AlertStates) -> None:
    states.record("a", True, 5.0, None, 100.0)
    assert states.record("a", False, 1.0, None, 99.0).firing, "a slow question must not undo a later one"
    assert states.record("a", None, None, None, 101.0).firing, "no number leaves it as it was"
    assert states.record("a", True, 5.0, None, 102.0).since == 100.0
    assert states.record("a", False, 5.0, None, 103.0) == AlertState(False, 103.0, 103.0, 5.0, None)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([10, 50, 200]), st.booleans(), st.sampled_from(["arrives", "refused", "unknown"])),
        max_size=25,
    )
)
def test_whoever_is_told_knows_how_it_stands_and_is_not_told_twice(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, str]]
) -> None:
    """Whatever comes and goes and fails: no two that it fires within 100 s, none that it is over without one before.

    What is not known to have arrived is tried again, and may have told.
    """
    database = Database(tmp_path_factory.mktemp("told"))
    states, now = AlertStates(database), 1000.0
    told: list[tuple[float, bool]] = []
    believes = False
    for passed, holds, fate in steps:
        now += passed
        states.record("a", holds, 1.0, None, now)
        due = states.claim("a", "x", 100, now)
        last_fired = max((at for at, firing in told if firing), default=-1000.0)
        assert (due is not None) == (now - last_fired >= 100 if holds else believes)
        if due is None:
            continue
        assert due.state.firing is holds
        if fate == "arrives":
            states.sent("a", "x", due, now)
            told.append((now, holds))
            believes = holds
        else:
            states.failed("a", "x", due, "no", ambiguous=fate == "unknown")
            believes = believes or (holds and fate == "unknown")
    database.close()


# What an alert looks at.


@pytest.mark.parametrize(
    ("condition", "value", "before", "holds"),
    [
        ({"above": 3}, 3.0, None, False),
        ({"above": 3}, 3.1, None, True),
        ({"below": 3}, 3.0, None, False),
        ({"below": 3}, 2.9, None, True),
        ({"below": 3}, None, None, None),
        ({"rises_by": 50}, 15.0, 10.0, True),
        ({"rises_by": 50}, 14.9, 10.0, False),
        ({"rises_by": 50}, 5.0, 10.0, False),
        ({"rises_by": 50}, 1.0, 0.0, True),
        ({"falls_by": 50}, 5.0, 10.0, True),
        ({"falls_by": 50}, 15.0, 10.0, False),
        ({"falls_by": 50}, 0.0, 0.0, False),
        ({"changes_by": 50}, 5.0, 10.0, True),
        ({"changes_by": 50}, 15.0, 10.0, True),
        ({"changes_by": 50}, -20.0, -10.0, True),
        ({"changes_by": 50}, 12.0, 10.0, False),
        ({"changes_by": 50}, 12.0, None, None),
    ],
)
def test_conditions(condition: dict[str, float], value: float | None, before: float | None, holds: bool | None) -> None:
    given = {key: each for key, each in PLAIN.items() if key != "below"}
    [alert] = read_alerts("alerts", [{**given, **condition}])
    assert alert.holds(Measured(value, before)) is holds


FUNNEL = [FunnelStep(event="a", count=10, conversion=1.0), FunnelStep(event="b", count=4, conversion=0.4)]
REVENUE = [
    RevenueTotal(currency="GBP", total=500, count=1, users=1, per_user=500.0, points=[]),
    RevenueTotal(currency="JPY", total=7, count=1, users=1, per_user=7.0, points=[]),
]
NOBODY = Totals(visitors=0, pageviews=0, events=0, sessions=0, bounce_rate=None, mean_duration=None)


@pytest.mark.parametrize(
    ("path", "kind", "answer", "number"),
    [
        ("visitors", Totals, NOBODY, 0.0),
        ("bounce_rate", Totals, NOBODY, None),
        ("0.count", list[FunnelStep], FUNNEL, 10.0),
        ("-1.conversion", list[FunnelStep], FUNNEL, 0.4),
        ("2.count", list[FunnelStep], FUNNEL, None),
        ("-1.median_seconds", list[FunnelStep], FUNNEL, None),
        ("[event=b].count", list[FunnelStep], FUNNEL, 4.0),
        ("count", list[FunnelStep], FUNNEL, 14.0),
        ("count", list[FunnelStep], [], 0.0),
        ("[currency=GBP].total", list[RevenueTotal], REVENUE, 500.0),
        ("[currency=EUR].total", list[RevenueTotal], REVENUE, 0.0),
        ("[key=checkout.completed].count", list[Count], [Count(key="checkout.completed", count=3)], 3.0),
    ],
)
def test_the_number_of_an_answer(path: str, kind: Any, answer: Any, number: float | None) -> None:
    assert Number(path, kind).of(answer) == number


@pytest.mark.parametrize(
    ("path", "kind", "said"),
    [
        ("", Totals, "names no number"),
        ("visitors.", Totals, "names no number"),
        ("visitorz", Totals, "there is no 'visitorz' in it; there are visitors, pageviews"),
        ("visitors.count", Totals, "there is no 'count'"),
        ("0.visitors", Totals, "there is no '0'"),
        ("event", list[FunnelStep], "leads to no number"),
        ("0", list[FunnelStep], "leads to no number; there are event, count"),
        ("total", list[RevenueTotal], r"say \[currency=GBP\] first"),
        ("[nope=x].count", list[FunnelStep], "there is no 'nope'"),
        ("count!", list[FunnelStep], "can't be read"),
        ("collectors", PipelineHealth, "leads to no number; there are name, pending"),
    ],
)
def test_a_way_that_leads_to_no_number_is_refused_before_anything_is_asked(path: str, kind: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Number(path, kind)


ASKED: dict[str, tuple[dict[str, Any], float | None]] = {
    "volume": ({"question": "volume", "parameters": {"event": "order"}, "number": "count", "window": "2h"}, 2.0),
    "hour": ({"question": "volume", "parameters": {"bucket": "hour"}, "number": "-1.count", "window": "3h"}, 1.0),
    "filtered": (
        {
            "question": "active",
            "parameters": {"where": [{"field": "country", "op": "eq", "value": "DE"}]},
            "number": "count",
        },
        1.0,
    ),
    "breakdown": (
        {"question": "volume", "parameters": {"breakdown": "country"}, "number": "[key=DE].answer.count"},
        1.0,
    ),
    "funnel": (
        {"question": "funnel", "parameters": {"step": ["order", "refund"]}, "number": "-1.conversion"},
        0.5,
    ),
    "money": ({"question": "revenue", "number": "[currency=GBP].total"}, 3000.0),
    "rate": ({"question": "overview", "number": "bounce_rate", "window": "1m"}, None),
}


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
def test_any_question_can_be_asked_as_over_rest(shop: Shop, asked: tuple[dict[str, Any], float | None]) -> None:
    given, value = asked
    analytics = shop.open(given)
    shop.has(
        analytics,
        order(-0.5, revenue=Money("20", "GBP")),
        order(-1.5, user_id="bob", visit=Visit(country="DE"), revenue=Money("10", "GBP")),
        order(-2.5, event_name="other", user_id="cyd"),
        order(-0.4, event_name="refund", user_id="ann", revenue=Money("5", "JPY"))
        if given["question"] == "funnel"
        else order(-40),
    )
    [outcome] = shop.check(analytics)
    assert outcome.value == value


def test_a_change_is_looked_at_beside_the_same_time_before(shop: Shop) -> None:
    given = {key: each for key, each in PLAIN.items() if key not in ("below", "to")}
    analytics = shop.open({**given, "below": 0, "window": "1h"})
    shop.has(analytics, *(order(-1.5 - n / 100) for n in range(4)), order(-0.5))
    to = [{"url": f"{shop.hook.url}/x", "allow_http": True, "allow_private": True}]
    [alert] = read_alerts("alerts", [{**given, "falls_by": 50, "window": "1h", "to": to}])
    assert alert.measure(analytics, NOW) == Measured(1.0, 4.0)
    assert alert.holds(alert.measure(analytics, NOW)) is True


class Sick(BatchCollector):
    """Refuses what is called *bad* and can't be reached for the rest."""

    name = "sick"
    linger = 0.0

    def send(self, events: Any) -> None:
        if bad := {event.event_id: "no" for event in events if event.event_name == "bad"}:
            raise DeliveryError("refused", rejected=bad)
        raise DeliveryError("down")


def test_the_sickness_of_collectors_is_a_question_too(shop: Shop) -> None:
    def about(number: str, above: float) -> dict[str, Any]:
        given = {key: each for key, each in PLAIN.items() if key not in ("below", "to")}
        return {**given, "name": number, "question": "pipeline", "number": number, "above": above}

    to = [{"url": f"{shop.hook.url}/x", "allow_http": True, "allow_private": True}]
    paths = ("dead", "pending", "collectors.[name=sick].dead", "collectors.[name=store].pending", "lag")
    analytics = Analytics(
        [Sick()],
        data_dir=shop.directory,
        enabled=True,
        alerts=[{**about(path, 0), "to": to} for path in paths],
    )
    shop.made.append(analytics)
    for name in ("bad", "bad"):
        analytics.track(name)
    waiting = threading.Event()
    while analytics.stats()["collectors"]["sick"]["dead"] != 2:
        waiting.wait(0.01)
    analytics.track("good")
    while not analytics.stats()["collectors"]["sick"]["pending"]:
        waiting.wait(0.01)
    shop.time = datetime.now(UTC).timestamp() + 60
    values = {outcome.alert.name: outcome.value for outcome in shop.check(analytics)}
    assert values["dead"] == 2.0
    assert values["collectors.[name=sick].dead"] == 2.0
    assert values["collectors.[name=store].pending"] is not None
    assert (values["pending"] or 0) >= 1
    assert (values["lag"] or 0) >= 59
    shop.time += 2 * 86_400
    values = {outcome.alert.name: outcome.value for outcome in shop.check(analytics)}
    assert values["dead"] == 0.0, "those are older than the window"


# What the setting takes.

WRONG: dict[str, tuple[Any, str]] = {
    "no list": ({"name": "x"}, "'alerts' is .* it must be a list"),
    "no dict": (["orders"], "alert 0 is 'orders'; it must be a dict"),
    "no name": ([{**PLAIN, "name": ""}], "'name' is ''"),
    "a name of two lines": ([{**PLAIN, "name": "a\r\nBcc: x@y.example"}], "'name' is .* one line"),
    "a long name": ([{**PLAIN, "name": "x" * 101}], "'name' is"),
    "the same name": ([PLAIN, PLAIN], "alert 1: 'name' is 'orders'; it must be another"),
    "an unknown key": ([{**PLAIN, "threshold": 3}], r"alert 0 \('orders'\): 'threshold' is unknown; there are name"),
    "no question": ([{**PLAIN, "question": None}], "'question' is None; it must be one of volume, top"),
    "an unknown question": ([{**PLAIN, "question": "volumes"}], "'question' is 'volumes'"),
    "a parameter": ([{**PLAIN, "parameters": {"evnt": "x"}}], "'parameters' is .* evnt: is not a parameter"),
    "a parameter's value": ([{**PLAIN, "parameters": {"bucket": "year"}}], "'parameters' is .* bucket: 'year'"),
    "a filter": ([{**PLAIN, "parameters": {"where": [{"field": "x", "op": "eq"}]}}], "'parameters' is"),
    "a range": ([{**PLAIN, "parameters": {"from": "2025-01-01"}}], "which 'window' says"),
    "no dict of parameters": ([{**PLAIN, "parameters": "event=x"}], "'parameters' is 'event=x'; it must be a dict"),
    "a number": ([{**PLAIN, "number": "counts"}], "'number' is 'counts'.* there are time, count"),
    "no number": ([{key: each for key, each in PLAIN.items() if key != "number"}], "'number' is missing"),
    "no condition": ([{key: each for key, each in PLAIN.items() if key != "below"}], "there is no condition"),
    "two conditions": ([{**PLAIN, "above": 3}], "'above' and 'below' are given"),
    "a condition": ([{**PLAIN, "below": "3"}], "'below' is '3'; it must be a number"),
    "not a number": ([{**PLAIN, "below": float("nan")}], "'below' is nan"),
    "a window": ([{**PLAIN, "window": "1 day"}], "'window' is '1 day'; it must be a length of time"),
    "no window": ([{**PLAIN, "window": "0h"}], "'window' is '0h'"),
    "quiet": ([{**PLAIN, "quiet": 3600}], "'quiet' is 3600"),
    "nobody": ([{**PLAIN, "to": []}], r"'to' is \[\]"),
    "no destination": ([{**PLAIN, "to": ["ops"]}], "'to' is .* e-mail address"),
    "a change of health": (
        [{**{key: each for key, each in PLAIN.items() if key != "below"}, "question": "pipeline", "number": "lag"}
         | {"rises_by": 3}],
        "'rises_by' is 3; it must be 'above' or 'below'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("value", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_alert_is_an_error_at_the_start_that_names_alert_key_and_value(value: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        Settings(alerts=value, mail=mute)
    assert "analytics setting 'alerts'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_webhook_of_an_alert_shows_only_its_host() -> None:
    url = "https://hooks.example.com/services/hidden-path"
    settings = Settings(alerts=[{**PLAIN, "to": [url]}])
    assert "hidden-path" not in repr(settings)
    assert "https://hooks.example.com" in repr(settings)
    for bad in (f"{url} x", {"url": url, "nope": 1}, {"url": url, "secret": "short-secret"}):
        with pytest.raises(ConfigurationError, match=r"alert 0 \('orders'\): 'to'") as caught:
            Settings(alerts=[{**PLAIN, "to": [bad]}])
        assert "hidden-path" not in str(caught.value)
        assert "short-secret" not in str(caught.value)


def test_a_mailbox_without_a_mail_server_is_an_error_at_the_start() -> None:
    for named in ({"alerts": [PLAIN]}, {"report_to": ["a@b.example"]}):
        with pytest.raises(ConfigurationError, match=r"'mail' is None; it must be .* 'a@b.example' is to get e-mail"):
            Settings(**named)
        assert Settings(**named, mail=mute).mail is mute


def test_what_a_message_says_is_escaped_and_in_one_line() -> None:
    hostile = "<script>alert(1)</script>\r\nBcc: x@evil.example\x1b[2J```<!channel>"
    [alert] = read_alerts(
        "alerts", [{**PLAIN, "name": "<b>orders</b> <!here>", "parameters": {"event": hostile}, "window": "7d"}]
    )
    state = AlertState(True, NOW.timestamp(), NOW.timestamp(), 1234.5, 1000.0)
    message = alert_message(alert, DueMessage("alr_1", state), "Europe/Berlin")
    assert message.subject == "Firing: <b>orders</b> <!here>"
    assert "<script>" not in message.html
    assert "<b>" not in message.html
    assert not [line for line in message.text.splitlines() if line.startswith("Bcc")]
    assert message.text.replace("\n", "").isprintable()
    assert "1,234, 1,000 before (+23%); the condition is: below 3" in message.text
    assert "12 Mar 2025, 13:00:00 (Europe/Berlin)" in message.text
    assert b"<!here>" not in message.json().partition(b'"html"')[0].partition(b'"text"')[2]
