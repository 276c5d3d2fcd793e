"""Who objects goes to no third party and has no anonymous id; whoever must be asked is. What is withheld counts."""

import pytest
from privacy_site import Page

from analytics_middleware import identify, set_user
from analytics_middleware.enrich.visitor import is_cookieless
from analytics_middleware.testing import FakeCollector

OBJECTS = [{"dnt": "1"}, {"sec-gpc": "1"}, {"dnt": "1", "sec-gpc": "1"}]
DOES_NOT = [{}, {"dnt": "0"}, {"dnt": "unspecified"}, {"sec-gpc": "0"}]


class Three:
    """A site with a collector of its own, a vendor's, and one of its own that requires consent."""

    def __init__(self, build, stack, **settings):
        self.own = FakeCollector("own")
        self.vendor = FakeCollector("vendor", third_party=True)
        self.asking = FakeCollector("asking", requires_consent=True)
        collectors = [self.own, self.vendor, self.asking]
        self.site = build(stack, {"/account": self.account}, collectors=collectors, **settings)

    def account(self):
        set_user("ada")
        return Page()

    def settled(self):
        assert self.site.analytics.flush(10)
        return {
            name: (len(getattr(self, name).events), stats["dropped"])
            for name, stats in self.site.analytics.stats()["collectors"].items()
        }


@pytest.mark.parametrize("headers", OBJECTS)
def test_somebody_who_objects_is_nobody_and_unknown_to_third_parties(build, stack, headers):
    three = Three(build, stack, consent=lambda request: True)
    three.site.visit("/", headers=headers)
    assert three.settled() == {"own": (1, {}), "vendor": (0, {"consent": 1}), "asking": (1, {})}
    assert [event.anon_id for event in three.own.events] == [None]
    assert [event.visit.session_id for event in three.own.events] == [None]
    assert [(event.visit.opted_out, event.visit.consented) for event in three.own.events] == [(True, True)]


@pytest.mark.parametrize("headers", DOES_NOT)
def test_somebody_who_does_not_object_is_a_visitor(build, headers):
    three = Three(build, "asgi")
    three.site.visit("/", headers=headers)
    assert three.settled() == {"own": (1, {}), "vendor": (1, {}), "asking": (0, {"consent": 1})}
    assert is_cookieless(three.own.events[0].anon_id)
    assert (three.own.events[0].visit.opted_out, three.own.events[0].visit.consented) == (False, False)


@pytest.mark.parametrize("headers", OBJECTS)
def test_a_signed_in_user_who_objects_stays_known_to_the_site_itself(build, headers):
    three = Three(build, "asgi")
    three.site.visit("/account", headers=headers)
    assert three.settled()["vendor"] == (0, {"consent": 1})
    assert [(event.user_id, event.anon_id) for event in three.own.events] == [("ada", None)]


@pytest.mark.parametrize(
    ("consent", "given"),
    [
        (None, False),
        (lambda request: True, True),
        (lambda request: False, False),
        (lambda request: None, False),
        (lambda request: 1, False),
        (lambda request: "yes", False),
        (lambda request: 1 / 0, False),
    ],
    ids=["no hook", "true", "false", "none", "one", "text", "raises"],
)
def test_a_collector_that_requires_consent_gets_what_the_hook_answers_with_true(build, consent, given):
    three = Three(build, "asgi", consent=consent)
    three.site.visit("/")
    assert three.settled() == {
        "own": (1, {}),
        "vendor": (1, {}),
        "asking": (1, {}) if given else (0, {"consent": 1}),
    }


def test_a_hook_that_raises_costs_no_event_and_is_told_of(build, caplog):
    three = Three(build, "asgi", consent=lambda request: 1 / 0)
    three.site.visit("/")
    three.site.visit("/")
    assert three.settled()["own"] == (2, {})
    assert three.site.analytics.stats()["dropped"] == {}
    assert [record.message for record in caplog.records].count("analytics: consent raised") == 1


def test_the_hook_sees_the_request_of_the_visitor(build):
    three = Three(build, "asgi", consent=lambda request: request.cookie("consent") == "all")
    three.site.visit("/", cookie="consent=none")
    three.site.visit("/", cookie="theme=dark; consent=all")
    assert three.settled()["asking"] == (1, {"consent": 1})


def test_an_event_from_outside_a_request_has_nobodys_consent(build):
    three = Three(build, "asgi", consent=lambda request: True)
    three.site.analytics.track("renewed", user_id="ada")
    assert three.settled() == {"own": (1, {}), "vendor": (1, {}), "asking": (0, {"consent": 1})}


def test_what_an_objecting_visitors_view_tracks_is_withheld_too(build):
    three = Three(build, "asgi")
    three.site.pages["/buy"] = lambda: (three.site.analytics.track("bought"), Page())[1]
    three.site.visit("/buy", headers={"sec-gpc": "1"})
    assert three.settled()["vendor"] == (0, {"consent": 2})
    assert {event.anon_id for event in three.own.events} == {None}


class Knowing(FakeCollector):
    """A collector with a place for what is known of users."""

    def __init__(self, *words, **options):
        super().__init__(*words, **options)
        self.users = []

    def identify(self, user_id, traits):
        self.users.append(user_id)


@pytest.mark.parametrize(
    ("headers", "consent", "vendor", "asking"),
    [
        ({}, False, ["ada"], []),
        ({}, True, ["ada"], ["ada"]),
        ({"dnt": "1"}, True, [], ["ada"]),
        ({"sec-gpc": "1"}, False, [], []),
    ],
)
def test_what_is_said_of_a_user_goes_where_their_events_go(build, stack, headers, consent, vendor, asking):
    vendors, owns = Knowing("vendor", third_party=True), Knowing("asking", requires_consent=True)
    site = build(stack, collectors=[vendors, owns], consent=lambda request: consent)
    site.pages["/profile"] = lambda: (identify("ada", {"plan": "pro"}), Page())[1]
    site.visit("/profile", headers=headers)
    site.visit("/")
    assert site.analytics.flush(10)
    assert (vendors.users, owns.users) == (vendor, asking)


def test_what_is_said_of_a_user_outside_a_request_has_nobodys_consent(build):
    vendors, owns = Knowing("vendor", third_party=True), Knowing("asking", requires_consent=True)
    site = build("asgi", collectors=[vendors, owns], consent=lambda request: True)
    site.analytics.identify("ada", {"plan": "pro"})
    site.visit("/")
    assert site.analytics.flush(10)
    assert (vendors.users, owns.users) == (["ada"], [])
