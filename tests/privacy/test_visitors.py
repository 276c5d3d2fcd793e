"""Visitors and sessions are the site's, whichever process saw them; ids can't outlive the salts they were made with."""

import itertools
import json
import os
import random
import subprocess
import sys
import weakref
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from privacy_site import BROWSER, Page

from analytics_middleware import set_user
from analytics_middleware.counters import Counters
from analytics_middleware.enrich.salts import PrivateSalts
from analytics_middleware.enrich.sessions import PrivateSessions
from analytics_middleware.enrich.visit import Enricher
from analytics_middleware.enrich.visitor import is_cookieless
from analytics_middleware.event import Event
from analytics_middleware.housekeeping import Housekeeping
from analytics_middleware.outbox.database import FILE, Database
from analytics_middleware.outbox.visitors import SharedSalts, SharedSessions
from analytics_middleware.request import Request
from analytics_middleware.settings import Settings

WORKER = Path(__file__).parent / "visitor_worker.py"
MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0


class Workers:
    """Processes that share a data directory and take turns round by round."""

    def __init__(self, directory, count):
        self.out = directory / "events.jsonl"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        command = [sys.executable, str(WORKER), str(directory / "data"), str(self.out)]
        pipe = subprocess.PIPE
        self.processes = [
            subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) for _ in range(count)
        ]

    def serve(self, requests):
        """Spread *requests* over all processes; return when they are written."""
        for number, process in enumerate(self.processes):
            process.stdin.write(json.dumps(requests[number :: len(self.processes)]) + "\n")
            process.stdin.flush()
        assert all(json.loads(process.stdout.readline()) is True for process in self.processes)

    def end(self):
        """Return what was recorded of each request: visitor and session."""
        for process in self.processes:
            process.stdin.close()
        assert [process.wait(20) for process in self.processes] == [0] * len(self.processes)
        for process in self.processes:
            process.stdout.close()
        return {path: (anon, session) for path, anon, session in map(json.loads, self.out.read_text().splitlines())}


def partition(recorded, which):
    """Which requests belong together, by visitor (0) or session (1)."""
    groups = {}
    for path, ids in recorded.items():
        groups.setdefault(ids[which], set()).add(path)
    return set(map(frozenset, groups.values()))


def test_four_processes_see_the_visitors_and_sessions_that_one_sees(tmp_path):
    dice = random.Random(6)
    numbers = itertools.count()
    people = [(f"203.0.113.{dice.randrange(3)}", f"{BROWSER} {number % 4}") for number in range(12)]
    # Within a day of UTC, whenever this runs, and over by now.
    noon = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0).timestamp() - DAY
    gaps = [0, 5, 20, 29, 31, 40, 5, 90]
    rounds = []
    for offset in itertools.accumulate(gaps):
        at = noon + offset * MINUTE
        visitors = dice.sample(people, 8)
        rounds.append([(next(numbers), *person, at + dice.random()) for person in visitors for _ in range(3)])
    answers = []
    for count in (1, 4):
        directory = tmp_path / str(count)
        directory.mkdir()
        workers = Workers(directory, count)
        for requests in rounds:
            workers.serve(requests)
        answers.append(workers.end())
    one, four = answers
    assert len(one) == len(four) == sum(map(len, rounds))
    assert partition(one, 0) == partition(four, 0)
    assert partition(one, 1) == partition(four, 1)
    assert len(partition(one, 0)) == len(set(people))
    assert len(partition(one, 1)) > len(set(people)), "or there was no session to tell from another"


class Host:
    """A host's data directory, with processes that each have an enricher of their own, and a clock."""

    def __init__(self, directory, at, **settings):
        self.now = at
        self.settings = Settings(**settings)
        self.database = Database(directory)
        self.directory = directory

    def process(self, salt_source=None):
        salts, sessions = SharedSalts(self.database), SharedSessions(self.database)
        self.counters = Counters()
        return Enricher(self.settings, salts, sessions, self.counters, clock=lambda: self.now, salt_source=salt_source)

    def see(self, enricher, address="203.0.113.7", agent=BROWSER):
        request = Request(peer=address)
        event = Event(
            timestamp=datetime.fromtimestamp(self.now, UTC),
            client_ip=address,
            user_agent=agent,
            hostname="shop.example",
        )
        seen = enricher.enrich(event, request)
        enricher.assign_sessions([seen])
        return seen.event.anon_id, seen.event.visit.session_id

    def salts(self):
        with self.database.read() as connection:
            return {day: bytes(salt) for day, salt in connection.execute("SELECT day, value FROM salt")}

    def files(self):
        return b"".join(path.read_bytes() for path in self.directory.iterdir())


@pytest.fixture
def midnight():
    return datetime(2026, 3, 11, tzinfo=UTC).timestamp()


def test_a_session_that_crosses_midnight_stays_one_in_every_process(tmp_path, midnight):
    host = Host(tmp_path, midnight - 10 * MINUTE)
    before = host.see(host.process())
    host.now = midnight + 10 * MINUTE
    other, third = host.process(), host.process()
    assert host.see(other) == before
    host.now = midnight + 35 * MINUTE
    assert host.see(third) == before
    assert host.see(other) == before
    host.now = midnight + 66 * MINUTE
    after = host.see(other)
    assert after[0] != before[0], "the session has ended; this is a visitor of the new day"
    assert after[1] != before[1]
    assert host.see(third) == after
    host.database.close()


def test_whoever_comes_first_after_midnight_is_a_visitor_of_the_new_day(tmp_path, midnight):
    host = Host(tmp_path, midnight - 2 * HOUR)
    before = host.see(host.process())
    host.now = midnight + MINUTE
    assert host.see(host.process())[0] != before[0]
    host.database.close()


def test_midnight_is_that_of_the_sites_time_zone(tmp_path, midnight):
    host = Host(tmp_path, midnight - 2 * HOUR, timezone="Pacific/Auckland")
    enricher = host.process()
    before = host.see(enricher)
    host.now = midnight + 2 * HOUR
    assert host.see(enricher)[0] == before[0]
    host.database.close()


def test_after_48_hours_a_salt_is_gone_from_the_file_its_log_and_the_memory_of_every_process(tmp_path, midnight):
    host = Host(tmp_path, midnight + HOUR)
    first, second = host.process(), host.process()
    visitor, _ = host.see(first)
    assert host.see(second)[0] == visitor
    salt = host.salts()["2026-03-11"]
    assert salt in host.files()
    hashed = [weakref.ref(each._hash) for each in (first, second)]
    keeping = [Housekeeping(each, host.database, clock=lambda: host.now) for each in (first, second)]
    host.now = midnight + 2 * DAY - 1
    assert all(each.run() for each in keeping)
    assert salt in host.files(), "yesterday's is needed for sessions that cross midnight"
    host.now = midnight + 2 * DAY
    assert all(each.run() for each in keeping)
    assert "2026-03-11" not in host.salts()
    assert salt not in host.files()
    assert not any(each() for each in hashed)
    assert not any(each._salts._known for each in (first, second))
    # Nobody can tell any more who that visitor was: the same day's id is another now.
    host.now = midnight + HOUR
    assert host.see(first)[0] != visitor
    host.database.close()


def test_salts_end_on_time_when_nobody_visits_any_more(tmp_path, midnight):
    host = Host(tmp_path, midnight)
    host.see(host.process())
    [salt] = [value for day, value in host.salts().items() if day == "2026-03-11"]
    restarted = host.process()
    host.now = midnight + 30 * DAY
    assert Housekeeping(restarted, host.database, clock=lambda: host.now).run()
    assert host.salts() == {}
    assert salt not in host.files()
    host.database.close()


def test_sessions_are_forgotten_a_day_after_they_ended(tmp_path, midnight):
    host = Host(tmp_path, midnight + HOUR)
    enricher = host.process()
    visitor, session = host.see(enricher)
    assert visitor.encode() in host.files()
    keeping = Housekeeping(enricher, host.database, clock=lambda: host.now)
    host.now += DAY + HOUR
    assert keeping.run()
    assert visitor.encode() not in host.files()
    assert session.encode() not in host.files()
    host.database.close()


def test_housekeeping_comes_once_a_minute_and_again_at_once_while_somebody_reads(tmp_path, monkeypatch):
    now = [0.0]
    answers = iter([False, True, True])
    calls = []
    database = Database(tmp_path)
    monkeypatch.setattr(database, "truncate", lambda: calls.append(now[0]) or next(answers))
    enricher = Enricher(Settings(), PrivateSalts(), PrivateSessions(), Counters())
    keeping = Housekeeping(enricher, database, monotonic=lambda: now[0])
    for now[0] in range(125):
        keeping.tick()
    assert calls == [60, 61, 121]


def test_a_disk_that_fails_does_not_end_housekeeping(tmp_path, monkeypatch):
    def fail():
        raise OSError("no space left")

    database = Database(tmp_path)
    monkeypatch.setattr(database, "truncate", fail)
    enricher = Enricher(Settings(), PrivateSalts(), PrivateSessions(), Counters())
    keeping = Housekeeping(enricher, database, monotonic=iter([0.0, 60.0, 61.0]).__next__)
    keeping.tick()
    keeping.tick()


class Hub:
    """What gives several hosts the same salts, when it is up."""

    def __init__(self):
        self.up = True
        self.asked = []
        self.salts = {}

    def __call__(self, day):
        self.asked.append(day.isoformat())
        return self.salts.setdefault(day, os.urandom(32)) if self.up else None


def test_hosts_that_get_their_salts_from_one_agree_on_who_is_who(tmp_path, midnight):
    hub = Hub()
    hosts = [Host(tmp_path / name, midnight + 5 * HOUR) for name in ("a", "b")]
    first, second = [host.see(host.process(hub))[0] for host in hosts]
    assert first == second
    # A host's further processes ask nobody.
    hub.up = False
    assert hosts[0].see(hosts[0].process(hub))[0] == first
    assert hub.asked == ["2026-03-11", "2026-03-11"]
    for host in hosts:
        assert host.counters.peek() == {}
        host.database.close()


def test_tomorrows_salt_is_there_from_noon_on_so_that_nobody_misses_who_is_down_at_midnight(tmp_path, midnight):
    hub = Hub()
    host = Host(tmp_path, midnight + 11 * HOUR)
    enricher = host.process(hub)
    keeping = Housekeeping(enricher, host.database, clock=lambda: host.now)
    host.see(enricher)
    keeping.run()
    assert set(host.salts()) == {"2026-03-11"}
    host.now = midnight + 12 * HOUR
    hub.up = False
    keeping.run()
    assert set(host.salts()) == {"2026-03-11"}, "while it is down there is time yet to ask again"
    hub.up = True
    keeping.run()
    keeping.run()
    assert hub.asked.count("2026-03-12") == 2
    hub.up = False
    host.now = midnight + 24 * HOUR + 1
    visitor, _ = host.see(enricher)
    elsewhere = Host(tmp_path / "elsewhere", host.now)
    assert elsewhere.see(elsewhere.process(hub.salts.get))[0] == visitor
    assert host.counters.peek() == {}
    host.database.close()
    elsewhere.database.close()


def test_without_the_shared_salt_a_hosts_visitors_count_apart_for_the_day_and_no_longer(tmp_path, midnight):
    hub = Hub()
    hub.up = False
    host = Host(tmp_path, midnight + 5 * HOUR)
    enricher = host.process(hub)
    alone, _ = host.see(enricher)
    assert host.counters.peek() == {"salts_apart": 1}
    hub.up = True
    host.now += HOUR
    assert host.see(enricher)[0] == host.see(host.process(hub))[0] == alone, "an id that changes counts twice"
    assert midnight not in hub.salts
    host.now = midnight + 29 * HOUR
    host.see(enricher)
    assert host.salts()["2026-03-12"] in hub.salts.values()
    host.database.close()


def test_a_time_in_the_future_makes_no_salt_for_it_and_ends_none(tmp_path, midnight):
    host = Host(tmp_path, midnight + 12 * HOUR)
    enricher = host.process()
    visitor, _ = host.see(enricher)
    event = Event(
        timestamp=datetime.fromtimestamp(host.now, UTC) + timedelta(days=5),
        client_ip="203.0.113.7",
        user_agent=BROWSER,
        hostname="shop.example",
    )
    assert enricher.enrich(event, Request()).event.anon_id == visitor
    assert set(host.salts()) == {"2026-03-11"}
    host.database.close()


def test_twenty_in_an_office_are_as_many_visitors_as_they_have_browsers(tmp_path, midnight):
    host = Host(tmp_path, midnight + 5 * HOUR)
    enricher = host.process()
    assert len({host.see(enricher, agent=f"{BROWSER} {number}")[0] for number in range(20)}) == 20
    assert len({host.see(enricher)[0] for _ in range(20)}) == 1
    host.database.close()


def test_twenty_with_one_address_and_one_browser_never_get_one_anothers_history(build):
    """A cookieless id is shared by everybody behind an address: signing in must not tie it to anybody."""
    people = iter(range(20))

    def login():
        set_user(f"user{next(people)}")
        return Page()

    site = build("asgi", {"/login": login, "*": Page}, store="default")
    for number in range(20):
        site.visit(f"/secret/{number}")
    for _ in range(20):
        site.visit("/login")
    site.visit("/after")
    assert {event.anon_id for event in site.events if is_cookieless(event.anon_id)} == {site.events[0].anon_id}
    ask = site.analytics.insights
    for number in range(20):
        timeline = ask.timeline(user_id=f"user{number}")
        assert [event.path for event in timeline.events] == ["/login"]


def test_the_database_is_for_the_sites_own_account_only(tmp_path, midnight):
    host = Host(tmp_path, midnight)
    host.see(host.process())
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0
    host.database.close()


@pytest.mark.parametrize(
    ("referrer", "spam"), [("http://semalt.com/crawler.php", True), ("https://example.org/", False)]
)
def test_a_visit_with_a_forged_referrer_says_so(build, referrer, spam):
    site = build("asgi")
    site.visit("/", headers={"referer": referrer})
    assert [event.visit.is_spam for event in site.events] == [spam]
