"""What a report says: the period's figures beside those before, and what changed; nothing of strangers' does harm."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from destinations.server import Reply, Server
from smtp_server import TLS, SmtpServer

from analytics_middleware import Analytics, Event, EventType, Money, cli
from analytics_middleware.event import Visit
from analytics_middleware.reports.figures import Report, build_report
from analytics_middleware.reports.period import between, whole_period
from analytics_middleware.reports.rendering import report_message, report_text
from analytics_middleware.store import Insights, MemoryStore
from analytics_middleware.web import templating

MONDAY = datetime(2025, 3, 3, 12, tzinfo=UTC)
WEEK = ("2025-03-03", "2025-03-09")
HOSTILE = (
    "\"><script>alert(1)</script>'<img src=x onerror=alert(2)>\r\nBcc: x@evil.example\x1b[2J\u202e```<!channel>&amp;"
)


def view(user: str, at: datetime, page: str = "/", source: str = "Google", country: str = "GB") -> Event:
    visit = Visit(country=country, source=source)
    return Event(type=EventType.PAGEVIEW, timestamp=at, user_id=user, matched_pattern=page, path=page, visit=visit)


def weeks() -> list[Event]:
    """A week of thirty visitors, then one of forty; */new* is only in the second, and thirty more came for it."""
    events = [view(f"user-{n}", MONDAY + timedelta(days=day)) for day in range(7) for n in range(40)]
    events += [view(f"user-{n}", MONDAY - timedelta(days=7 - day)) for day in range(7) for n in range(30)]
    events += [view(f"new-{n}", MONDAY + timedelta(hours=n), "/new", "Reddit", "DE") for n in range(30)]
    events += [
        Event(event_name="buy", user_id="user-1", timestamp=MONDAY, revenue=Money("20", "GBP")),
        Event(event_name="buy", user_id="user-1", timestamp=MONDAY - timedelta(days=7), revenue=Money("10", "GBP")),
        Event(event_name="buy", user_id="user-2", timestamp=MONDAY, revenue=Money("500", "JPY")),
    ]
    return events


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[..., Analytics]]:
    """Makes analytics with a real store that holds *events*."""
    made: list[Analytics] = []

    def make(events: list[Event], **settings: Any) -> Analytics:
        analytics = Analytics(data_dir=tmp_path / "data", enabled=True, **settings)
        made.append(analytics)
        for event in events:
            analytics.track(event)
        assert analytics.flush(20)
        return analytics

    yield make
    for each in made:
        each.close()


def report_of(analytics: Analytics, **options: Any) -> Report:
    return build_report(analytics, between(analytics.insights, *WEEK), options.pop("title", "Shop"), **options)


def test_its_figures_are_those_of_the_questions_for_both_periods(shop: Callable[..., Analytics]) -> None:
    report = report_of(shop(weeks()))
    tiles = {tile.metric: (tile.value, tile.before) for tile in report.tiles}
    assert tiles["visitors"] == (70, 30)
    assert tiles["pageviews"] == (7 * 40 + 30, 7 * 30)
    assert tiles["revenue.GBP"] == (2000, 1000)
    assert tiles["revenue.JPY"] == (500, 0)
    assert (report.first, report.last) == (date(2025, 3, 3), date(2025, 3, 9))
    assert (report.before_first, report.before_last) == (date(2025, 2, 24), date(2025, 3, 2))
    assert [point.value for point in report.points][2:] == [40] * 5
    sections = {
        section.name: [(row.key, row.visitors, row.before) for row in section.rows] for section in report.sections
    }
    assert sections["pages"] == [("/", 40, 30), ("/new", 30, 0)]
    assert sections["sources"] == [("Google", 40, 30), ("Reddit", 30, 0)]
    assert sections["countries"] == [("GB", 40, 30), ("DE", 30, 0)]
    assert ("buy", 2, 1) in sections["events"]


def test_what_changed_is_what_the_change_of_all_visitors_does_not_explain() -> None:
    def changes(now: dict[str, int], before: dict[str, int]) -> set[tuple[str, int, int]]:
        analytics = Analytics(enabled=True)
        assert analytics.store is not None
        analytics.store.apply(
            [
                view(f"{page}-{n}", at, page)
                for counts, at in ((now, MONDAY), (before, MONDAY - timedelta(days=7)))
                for page, count in counts.items()
                for n in range(count)
            ]
        )
        found = report_of(analytics).changes
        return {(each.key, each.visitors, each.before) for each in found if each.what == "Page"}

    assert changes({"/a": 200, "/b": 200}, {"/a": 100, "/b": 100}) == set()
    assert changes({"/a": 100, "/b": 40}, {"/a": 100, "/b": 100}) == {("/b", 40, 100)}
    assert changes({"/a": 400}, {"/a": 400, "/gone": 90}) == {("/gone", 0, 90)}
    assert changes({"/a": 400, "/small": 9}, {"/a": 400}) == set()
    assert changes({"/a": 400}, {}) == set()
    assert changes({}, {}) == set()


@pytest.mark.parametrize(
    ("now", "length", "first", "last", "before"),
    [
        ("2025-03-12T12:00:00Z", "day", "2025-03-11", "2025-03-11", "2025-03-10"),
        ("2025-03-12T12:00:00Z", "week", "2025-03-03", "2025-03-09", "2025-02-24"),
        ("2025-03-10T00:00:00Z", "week", "2025-03-03", "2025-03-09", "2025-02-24"),
        ("2025-03-09T23:59:59Z", "week", "2025-02-24", "2025-03-02", "2025-02-17"),
        ("2025-03-12T12:00:00Z", "month", "2025-02-01", "2025-02-28", "2025-01-01"),
        ("2025-01-01T00:00:00Z", "month", "2024-12-01", "2024-12-31", "2024-11-01"),
    ],
)
def test_the_last_whole_period_stands_beside_the_one_before(
    now: str, length: str, first: str, last: str, before: str
) -> None:
    at = datetime.fromisoformat(now)
    scope = whole_period(Insights(MemoryStore(), clock=lambda: at), length)
    assert (scope.first.isoformat(), scope.last.isoformat()) == (first, last)
    assert scope.before is not None
    assert (scope.before.start.date().isoformat(), scope.before.end) == (before, scope.start)
    assert scope.end <= at


def test_days_are_those_of_the_time_zone() -> None:
    at = datetime(2025, 3, 9, 23, 30, tzinfo=UTC)  # Monday already in Berlin
    scope = whole_period(Insights(MemoryStore(), timezone="Europe/Berlin", clock=lambda: at), "week")
    assert scope.start == datetime(2025, 3, 2, 23, tzinfo=UTC)
    assert scope.end == datetime(2025, 3, 9, 23, tzinfo=UTC)


class Page(HTMLParser):
    """Notes every tag, attribute and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_names_that_strangers_made_up_stay_text_in_every_form(shop: Callable[..., Analytics]) -> None:
    analytics = shop(
        [
            Event(
                event_name=HOSTILE,
                user_id=f"{HOSTILE}{n}",
                timestamp=MONDAY,
                properties={HOSTILE: HOSTILE},
            )
            for n in range(12)
        ]
        + [view(f"{HOSTILE}{n}", MONDAY, HOSTILE, HOSTILE, HOSTILE) for n in range(12)]
    )
    report = report_of(analytics, title=HOSTILE, dashboard_url="https://shop.example/analytics")
    assert all(any("script" in row.key for row in section.rows) for section in report.sections)
    message = report_message(report)
    page = Page(message.html)
    assert page.tags.isdisjoint({"script", "img", "link", "style", "iframe", "form", "svg"})
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "src"]
    links = [value for name, value in page.attributes if name == "href"]
    assert links
    assert all(link.startswith("https://shop.example/analytics/?") for link in links)
    assert any("<script>alert(1)</script>" in text for text in page.words), "it is shown as what it is"
    for form in (
        message.subject,
        message.text.replace("\n", ""),
        "".join(page.words).replace("\n", "").replace("\xa0", ""),
    ):
        assert form.isprintable()
    assert not [line for line in message.text.splitlines() if line.startswith("Bcc")]
    said = json.loads(message.json())
    assert "<" not in said["text"]
    assert ">" not in said["text"]
    assert said["text"].count("```") == 2
    assert said["html"] == message.html


def test_html_is_whole_in_itself_and_light(shop: Callable[..., Analytics]) -> None:
    message = report_message(report_of(shop(weeks())))
    page = Page(message.html)
    assert {name for name, _ in page.attributes}.isdisjoint({"class", "src", "href"})
    assert "url(" not in message.html
    assert len(message.html.encode()) < 40_000
    assert ("content", "light") in page.attributes


def test_links_lead_to_the_same_days_of_the_dashboard(shop: Callable[..., Analytics]) -> None:
    report = report_of(shop(weeks()), dashboard_url="https://shop.example/analytics/")
    assert report.dashboard is not None
    parts = urlsplit(report.dashboard)
    assert parts.path == "/analytics/"
    assert parse_qs(parts.query) == {"from": ["2025-03-03"], "to": ["2025-03-09"], "tz": ["UTC"]}
    [pages] = [section for section in report.sections if section.name == "pages"]
    assert json.loads(parse_qs(urlsplit(pages.rows[1].link or "").query)["where"][0]) == [
        {"field": "matched_pattern", "op": "eq", "value": "/new"}
    ]


def test_an_empty_period_has_its_report_too() -> None:
    text = report_text(report_of(Analytics(enabled=True)))
    assert "Visitors" in text
    assert "Nothing in this period." in text


# The command.


def run(analytics: Analytics, *words: str) -> SimpleNamespace:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = cli.main(["report", *words], application=lambda: analytics)
        except SystemExit as ended:
            code = int(str(ended.code))
    return SimpleNamespace(code=code, out=out.getvalue(), err=err.getvalue())


DAYS = ("--from", WEEK[0], "--to", WEEK[1])


def test_it_is_printed_as_text_html_and_json(shop: Callable[..., Analytics]) -> None:
    analytics = shop(weeks())
    text = run(analytics, *DAYS, "--title", "Shop")
    assert (text.code, text.err) == (0, "")
    assert text.out.startswith("Shop\n3 Mar – 9 Mar 2025 (UTC)\ncompared with 24 Feb – 2 Mar 2025\n")
    assert "Page /new: 30 visitors, none before" in text.out
    assert run(analytics, *DAYS, "--format", "html").out.startswith("<!doctype html>")
    data = json.loads(run(analytics, *DAYS, "--format", "json").out)["data"]
    assert data["tiles"][0] == {"metric": "visitors", "label": "Visitors", "value": 70, "before": 30, "change": 40 / 30}


def test_it_may_be_about_a_part_only(shop: Callable[..., Analytics]) -> None:
    german = json.dumps([{"field": "country", "op": "eq", "value": "DE"}])
    words = ("--where", german, "--dashboard-url", "https://shop.example/analytics", "--format", "json")
    answer = json.loads(run(shop(weeks()), *DAYS, *words).out)["data"]
    assert answer["tiles"][0]["value"] == 30
    assert [row["key"] for row in answer["sections"][0]["rows"]] == ["/new"]
    assert json.loads(parse_qs(urlsplit(answer["dashboard"]).query)["where"][0]) == json.loads(german)


def test_text_needs_no_templates_and_html_says_what_it_needs(
    shop: Callable[..., Analytics], monkeypatch: pytest.MonkeyPatch
) -> None:
    analytics = shop(weeks())
    monkeypatch.setitem(sys.modules, "jinja2", None)
    templating.environment.cache_clear()
    try:
        assert run(analytics, *DAYS).code == 0
        ended = run(analytics, *DAYS, "--format", "html")
        assert (ended.code, "analytics-middleware[dashboard]" in ended.err) == (1, True)
    finally:
        templating.environment.cache_clear()


def test_it_is_written_to_a_file_that_others_can_not_read(shop: Callable[..., Analytics], tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    ended = run(shop(weeks()), *DAYS, "--format", "html", "--output", str(file))
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert file.read_text().startswith("<!doctype html>")
    assert file.stat().st_mode & 0o777 == 0o600


def test_it_goes_to_the_mailboxes_that_the_settings_and_the_command_name(
    shop: Callable[..., Analytics], smtp: Callable[..., SmtpServer], context: Any
) -> None:
    server = smtp(context=context)
    mail = {"host": "hooks.example", "port": server.port, "sender": "a@shop.example", "ca_file": str(TLS / "ca.pem")}
    analytics = shop(weeks(), mail=mail, report_to=["ops@shop.example"])
    ended = run(analytics, *DAYS, "--send", "--send-to", "boss@shop.example")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "Analytics: 3 Mar – 9 Mar 2025: sent to 2 destinations of 2\n"
    assert [mail.to for mail in server.mails] == [["ops@shop.example"], ["boss@shop.example"]]
    assert "Page /new: 30 visitors" in server.mails[0].part("plain")
    assert "What changed most" in server.mails[0].part("html")


def test_a_webhook_gets_text_html_and_figures(shop: Callable[..., Analytics], hook: Server) -> None:
    url = {"url": f"{hook.url}/secret-path", "allow_http": True, "allow_private": True}
    analytics = shop(weeks(), report_to=[url])
    for _ in range(2):
        assert run(analytics, *DAYS, "--send").code == 0
    first, again = hook.requests
    assert first.target == "/secret-path"
    assert first.headers["content-type"] == "application/json"
    assert first.json["type"] == "analytics.report"
    assert first.json["text"].startswith("```\nAnalytics\n")
    assert first.json["data"]["sections"][0]["rows"][0]["key"] == "/"
    assert first.headers["webhook-id"] == again.headers["webhook-id"], "the same figures are the same message"


@pytest.mark.parametrize(
    "reply",
    [Reply(404, "no_service secret-path"), Reply(302, headers={"Location": "https://evil.example/"}), Reply(500)],
)
def test_what_was_not_sent_is_told_in_a_line_and_ends_with_1(
    reply: Reply, shop: Callable[..., Analytics], hook: Server
) -> None:
    hook.handler = lambda _request: reply
    url = {"url": f"{hook.url}/hidden-path", "allow_http": True, "allow_private": True}
    ended = run(shop(weeks(), report_to=[url]), *DAYS, "--send")
    assert ended.code == 1
    assert ended.err.startswith(f"not sent: {hook.url} answered {reply.status}")
    assert ended.err.count("\n") == 1
    assert "hidden-path" not in ended.out + ended.err
    assert len(hook.requests) == 1, "no redirect is followed"


def test_a_dry_run_sends_nothing_and_says_where_it_would_go(shop: Callable[..., Analytics], hook: Server) -> None:
    url = {"url": f"{hook.url}/hidden-path", "allow_http": True, "allow_private": True}
    ended = run(shop(weeks(), report_to=[url]), *DAYS, "--send", "--send-to", "ops@shop.example", "--dry-run")
    assert ended.code == 0
    assert ended.out.startswith("Would send 'Analytics: 3 Mar – 9 Mar 2025' to http://127.0.0.1")
    assert "ops@shop.example" in ended.out
    assert "hidden-path" not in ended.out
    assert hook.requests == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--from", "yesterday"], 1, "--from: 'yesterday' is not a date such as 2025-03-01"),
        (["--from", "2025-03-09", "--to", "2025-03-01"], 1, "must not be before from"),
        (["--where", "[1]"], 1, "--where"),
        (["--where", '[{"field": "nope", "op": "exists"}]'], 1, "--where: 'nope' is not a field"),
        (["--where", "{"], 2, "argument --where: "),
        (["--to", "2025-03-01"], 1, "--to needs --from"),
        (["--send"], 1, "'report_to' names nobody"),
        (["--dry-run"], 1, "--dry-run needs"),
        (["--send-to", "somebody"], 1, "e-mail address"),
        (["--send-to", "http://127.0.0.1/hidden-path"], 1, "must use https"),
        (["--dashboard-url", "javascript:alert(1)"], 1, "not the URL of a page"),
        (["--daily", "--weekly"], 2, "not allowed with"),
        (["--output", "/no/such/directory/report.txt"], 1, "No such file"),
    ],
)
def test_what_is_asked_wrongly_is_told_in_one_line(words: list[str], code: int, said: str) -> None:
    ended = run(Analytics(enabled=True), *words)
    assert ended.code == code
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert "hidden-path" not in ended.err


def test_without_a_store_that_is_said() -> None:
    ended = run(Analytics(enabled=True, store=None))
    assert ended.code == 1
    assert "there is no store to ask" in ended.err
