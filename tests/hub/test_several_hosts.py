"""Two hosts and a hub, each a server of its own: what either records, the hub answers for."""

import http.client
from datetime import UTC, datetime

from destinations.server import Received, Reply, Server, hang_up
from hub_servers import Instance, until


def total(hub: Instance, event: str = "") -> int:
    return sum(point["count"] for point in hub.ask("volume", event=event))


def test_the_hub_answers_for_both_hosts_and_one_visitor_of_both_is_one(instance):
    hub = instance("hub")
    hub.start(workers=2)
    first, second = instance("first", store=hub.url), instance("second", store=hub.url)
    first.start(workers=2)
    second.start()
    for _ in range(5):
        first.visit("/lamps")
        second.visit("/chairs", 2)
    second.visit("/buy/ann")
    until(lambda: total(hub) == 17)
    assert hub.ask("active") == {"count": 2, "cookieless": 1}
    assert hub.ask("overview")["sessions"] == 2
    assert hub.ask("traits", user_id="ann") == {"plan": "pro"}
    assert {row["key"]: row["count"] for row in hub.ask("values", field="path")} == {
        "/chairs": 10,
        "/lamps": 5,
        "/buy/ann": 2,
    }
    assert hub.ask("values", field="browser")[0]["key"] == "Firefox", "visits arrive as they were worked out"
    for host in (first, second):
        # The hub has an event before the host has written down that it has.
        until(lambda: host.stats().consumers["store"].pending == 0)  # noqa: B023 - called at once
        store = host.stats().consumers["store"]
        assert (store.pending, store.dead, store.dropped) == (0, 0, {})


def test_bots_stay_bots(instance):
    hub = instance("hub")
    hub.start()
    host = instance("host", store=hub.url)
    host.start()
    host.get("/", {"user-agent": "Googlebot/2.1 (+http://www.google.com/bot.html)", "accept": "text/html"})
    host.visit("/")
    until(lambda: host.delivered() == 2)
    assert hub.ask("overview")["bots"] == 1
    assert total(hub) == 1


def test_while_the_hub_is_down_events_wait_and_visitors_stay_who_they_are(instance):
    hub = instance("hub")
    hub.start()
    hosts = [instance("first", store=hub.url), instance("second", store=hub.url)]
    for host in hosts:
        host.start()
        host.visit("/before")
    until(lambda: total(hub) == 2)
    hub.kill()
    for host in hosts:
        host.visit("/meanwhile", 20)
        # Killed and restarted while the hub is away: the salt is in its own database.
        until(lambda host=host: host.pending() == 20)
        host.kill()
        host.start()
        host.visit("/meanwhile", 10)
    until(lambda: all(host.pending() == 30 for host in hosts))
    hub.start()
    until(lambda: total(hub) == 62)
    assert hub.ask("active") == {"count": 1, "cookieless": 1}
    for host in hosts:
        assert host.stats().counts.get("salts_apart", 0) == 0
        store = host.stats().consumers["store"]
        assert (store.delivered, store.pending, store.dead) == (31, 0, 0)


def test_a_hub_killed_over_and_over_loses_nothing_and_counts_nothing_twice(instance):
    hub = instance("hub")
    hub.start()
    host = instance("host", store=hub.url)
    host.start()
    for _ in range(3):
        host.visit("/page", 100)
        hub.kill()
        host.visit("/page", 20)
        hub.start()
    until(lambda: host.delivered() == 360)
    assert total(hub) == 360


def test_answers_that_are_lost_or_late_make_nothing_count_twice(instance):
    hub = instance("hub")
    hub.start()
    faults = [hang_up, Reply(503, b"{}", {"Retry-After": "0"}), hang_up]

    def between(request: Received) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=20)
        connection.request(request.method, request.target, request.raw, request.headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        if request.path.endswith("/records") and faults:
            # It has arrived, and is on the hub's disk; the host can't know.
            return faults.pop()
        return Reply(response.status, body, {"Content-Type": "application/json"})

    with Server(between) as proxy:
        host = instance("host", store=f"{proxy.url}/api/analytics")
        host.start()
        host.visit("/page", 50)
        until(lambda: host.delivered() == 50)
        host.kill()
    assert not faults
    assert total(hub) == 50
    assert host.stats().consumers["store"].dropped == {}


def test_an_answer_that_is_not_the_hubs_loses_nothing(instance):
    answers = [Reply(200, b"<h1>Please sign in</h1>"), Reply(200, b'{"accepted":0}')]
    taken: list[bytes] = []

    def hub(request: Received) -> Reply:
        if not request.path.endswith("/records"):
            return Reply(404, b"")
        if answers:
            return answers.pop()
        taken.append(request.raw)
        return Reply(200, b'{"accepted":%d}' % request.raw.count(b'"kind"'))

    with Server(hub) as server:
        host = instance("host", store=f"{server.url}/api/analytics")
        host.start()
        host.visit("/page", 5)
        until(lambda: host.delivered() == 5)
        host.kill()
    assert b"".join(taken).count(b'"kind":"event"') == 5


def test_erasing_on_one_host_erases_on_the_hub_what_all_of_them_sent_and_will_send(instance):
    hub = instance("hub")
    hub.start()
    first, second = instance("first", store=hub.url), instance("second", store=hub.url)
    for host in (first, second):
        host.start()
        host.visit("/buy/ann")
        host.visit("/buy/bob")
    until(lambda: total(hub, "bought") == 4)
    hub.kill()
    second.visit("/buy/ann")
    until(lambda: second.pending() > 0)
    first.visit("/erase/ann")
    hub.start()
    until(lambda: first.pending() == second.pending() == 0)
    until(lambda: total(hub, "bought") == 2)
    assert hub.ask("traits", user_id="ann") == {}
    assert hub.ask("traits", user_id="bob") == {"plan": "pro"}


def test_a_host_that_finds_no_hub_counts_its_visitors_apart_for_that_day_and_says_so(instance):
    hub = instance("hub")
    host = instance("host", store=hub.url)
    host.start()
    # In the first hours a session may go on from yesterday, whose salt is asked for, too.
    days = 2 if datetime.now(UTC).hour < 3 else 1
    host.visit("/")
    until(lambda: host.stats().counts.get("salts_apart") == days)
    hub.start()
    other = instance("other", store=hub.url)
    other.start()
    other.visit("/")
    until(lambda: total(hub) == 2)
    assert hub.ask("active") == {"count": 2, "cookieless": 2}
    host.visit("/again")
    until(lambda: total(hub) == 3)
    assert hub.ask("active")["count"] == 2, "an id does not change within its day"


def test_questions_to_a_host_name_the_hub(instance):
    hub = instance("hub")
    host = instance("host", store=hub.url)
    host.start()
    status, body = host.get("/api/analytics/volume", {"authorization": f"Bearer {host.settings['secret_key']}"})
    assert status == 503
    assert hub.url in body.decode()
