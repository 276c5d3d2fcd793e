"""What must not be kept is put into every field of a request, and then looked for in everything that is kept.

Each has its counterpart, the setting that allows the thing: there it must be found, or this would find nothing.
"""

import base64
import logging
import re
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from privacy_site import BROWSER, Page

from analytics_middleware import track
from analytics_middleware.testing import FakeCollector

IP = "198.51.100.77"
TOKEN = "tk9fQ2xLw7ZbK1mR8sVt3Yp"
EMAIL = "canary.bird@example.net"
COOKIE = "c00k1eCanary8sVt3YpQ2xLw"
CANARIES = {"address": IP, "token": TOKEN, "email": EMAIL, "cookie": COOKIE}
QUERY = "&".join(
    (
        f"token={TOKEN}",
        f"email={quote(EMAIL)}",
        f"utm_source={TOKEN}",
        f"utm_campaign={EMAIL}",
        f"utm_{TOKEN}=1",
        f"{TOKEN}=1",
        f"fbclid={EMAIL}",
        f"q={EMAIL}",
        f"ip={IP}",
    )
)
REFERRER = f"https://{EMAIL}:{TOKEN}@elsewhere.example/{TOKEN}/{EMAIL};s={TOKEN}?{QUERY}#{TOKEN}"
HEADERS = {
    "user-agent": f"{BROWSER} ({EMAIL}; {TOKEN})",
    "referer": REFERRER,
    "cookie": f"sessionid={COOKIE}; token={TOKEN}",
    "authorization": f"Bearer {TOKEN}",
    "proxy-authorization": f"Basic {base64.b64encode(f'{EMAIL}:{TOKEN}'.encode()).decode()}",
    "x-forwarded-for": IP,
    "x-real-ip": IP,
    "forwarded": f"for={IP}",
    "cf-connecting-ip": IP,
    "from": EMAIL,
    "accept-language": f"{TOKEN},{EMAIL};q=0.9",
    "accept": f"text/html, {TOKEN}/x",
    "origin": f"https://{TOKEN}.example",
    "x-custom": f"{TOKEN} {EMAIL}",
    "traceparent": f"00-{TOKEN}-{TOKEN}-01",
    "x-csrftoken": TOKEN,
    "if-none-match": f'"{TOKEN}"',
}
PATH = f"/reset/{TOKEN}/{EMAIL};jsessionid={COOKIE}"
FORMS = {
    name: {
        canary.encode(),
        canary.replace("@", "%40").encode(),
        canary.replace("@", "%2540").encode(),
        base64.b64encode(canary.encode()).rstrip(b"="),
        canary.encode("utf-16-le"),
    }
    for name, canary in CANARIES.items()
}


def pages():
    def tracked():
        track("reset.requested", {"kind": "mail"})
        return Page()

    return {"*": tracked}


def send(site, **extra):
    """Every kind of request, each with everything in it."""
    headers = {**HEADERS, **extra}
    for method in ("GET", "POST", "PROPFIND", "HEAD"):
        site.visit(PATH, method=method, query=QUERY, headers=headers, peer=IP, body=f"email={EMAIL}&t={TOKEN}".encode())
    site.visit("/host", headers={**headers, "host": f"{EMAIL}:{TOKEN}"}, peer=IP)
    site.visit("/fragment", query=f"{QUERY}#{TOKEN}", headers=headers, peer=IP)


def found(data):
    """The canaries that are in *data*, however they are written."""
    return {name for name, forms in FORMS.items() if any(form in data for form in forms)}


def contents(path: Path):
    """What is in a file, and of a compressed one what that means: texts that no row has are in its dictionaries."""
    data = path.read_bytes()
    if path.suffix != ".parquet":
        return data
    names = pq.read_schema(path).names
    table = pq.ParquetFile(path, read_dictionary=names).read()
    texts = [
        str(chunk.dictionary.to_pylist() if isinstance(chunk, pa.DictionaryArray) else chunk.to_pylist())
        for column in table.columns
        for chunk in column.chunks
    ]
    return data + str(table.schema.metadata).encode() + "\n".join(texts).encode()


def on_disk(directory: Path):
    """The canaries in all files, with the file's name: the database with its free pages, its log, segments, locks."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".sqlite3") for path in files)
    return {(path.name, name) for path in files for name in found(contents(path))}


def everything(events):
    """All that a collector can see of *events*."""
    return b"\n".join(event.encode() + repr(event).encode() + repr(event.request).encode() for event in events)


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


def test_by_default_nothing_of_a_visitor_is_found_anywhere(build, stack, tmp_path, log):
    site = build(stack, pages(), data_dir=tmp_path, store="default", collectors=None)
    send(site)
    assert len(site.events) >= 8
    assert on_disk(tmp_path) == set()
    site.analytics.maintain()
    assert list(tmp_path.rglob("*.parquet")), "what is sealed is looked into as well"
    assert on_disk(tmp_path) == set()
    site.analytics.close(5)
    assert on_disk(tmp_path) == set()
    assert found(everything(site.events)) == set()
    assert found(log.text.encode()) == set()


def test_what_a_debug_log_shows_of_a_third_partys_events_is_clean_too(build, stack, tmp_path, log):
    collector = FakeCollector("vendor", third_party=True)
    site = build(stack, pages(), data_dir=tmp_path, collectors=[collector], debug=True)
    send(site)
    assert site.analytics.flush(10)
    assert collector.events == []
    assert "vendor would get" in log.text
    assert found(log.text.encode()) == set()


def test_behind_a_trusted_proxy_the_visitors_address_is_not_kept_either(build, stack, tmp_path, log):
    site = build(stack, pages(), data_dir=tmp_path, trusted_proxies=["10.0.0.0/8"], store="default")
    site.visit(PATH, query=QUERY, headers=HEADERS, peer="10.0.0.1")
    assert [event.client_ip for event in site.events] == ["198.51.100.0"] * len(site.events)
    site.analytics.maintain()
    assert on_disk(tmp_path) == set()
    assert found(log.text.encode()) == set()


def test_with_privacy_raw_all_but_the_cookie_is_kept(build, stack, tmp_path):
    site = build(stack, pages(), data_dir=tmp_path, privacy="raw", store="default")
    send(site)
    assert found(everything(site.events)) >= {"address", "token", "email"}
    assert {name for _, name in on_disk(tmp_path)} >= {"address", "token", "email"}
    site.analytics.maintain()
    sealed = {name for file, name in on_disk(tmp_path) if file.endswith(".parquet")}
    assert sealed >= {"token", "email"}, "or nothing above means anything of the store"


def test_a_query_key_that_is_allowed_is_kept_unless_its_value_is_a_secret(build, stack, tmp_path):
    site = build(stack, pages(), data_dir=tmp_path, keep_query=["q"])
    site.visit("/search", query="q=green+tea&other=1")
    site.visit("/search", query=f"q={EMAIL}")
    assert {event.url for event in site.events} == {
        "https://shop.example/search?q=green+tea",
        "https://shop.example/search",
    }


class Held:
    """A collector that needs private facts and keeps them waiting until it is told to go on."""

    def __init__(self, needs):
        self.open = False
        self.collector = FakeCollector("needy", needs=needs, fail=self._fail)

    def _fail(self, events):
        if not self.open:
            raise ConnectionError("not yet")


NEEDS = ("client_ip", "header:authorization", "cookie:sessionid")


def test_private_facts_are_on_disk_only_until_their_collector_has_read_them(build, stack, tmp_path, monkeypatch):
    monkeypatch.setattr("analytics_middleware.delivery.backoff.Backoff.delay", lambda *_: 0.0)
    held = Held(NEEDS)
    site = build(stack, pages(), data_dir=tmp_path, collectors=[held.collector], store="default")
    site.visit(PATH, query=QUERY, headers=HEADERS, peer=IP)
    site.analytics.flush(0.3)
    assert {name for _, name in on_disk(tmp_path)} == {"address", "token", "cookie"}, "or nothing below means anything"
    held.open = True
    assert site.analytics.flush(30)
    [seen, *_] = held.collector.events
    assert seen.client_ip == IP
    assert seen.request.header("authorization") == f"Bearer {TOKEN}"
    assert seen.request.cookie("sessionid") == COOKIE
    assert site.analytics.maintain()
    assert on_disk(tmp_path) == set()


@pytest.mark.parametrize("headers", [{"dnt": "1"}, {"sec-gpc": "1"}])
def test_for_vendors_nothing_is_kept_of_visitors_who_object(build, stack, tmp_path, headers):
    """They get none of it, so it does not wait for them; what the site's own collector needs, it gets."""
    own = FakeCollector("own", needs=("header:x-custom",))
    vendor = FakeCollector("vendor", third_party=True, needs=NEEDS)
    site = build(stack, pages(), data_dir=tmp_path, collectors=[own, vendor], background=False)
    site.visit("/", headers={**HEADERS, "x-custom": "ours", **headers}, peer=IP)
    assert not site.analytics.flush(0.2)
    assert on_disk(tmp_path) == set()
    site.analytics.work()
    assert site.analytics.flush(10)
    assert [event.request.header("x-custom") for event in own.events] == ["ours"]
    assert (vendor.events, site.analytics.stats()["collectors"]["vendor"]["dropped"]) == ([], {"consent": 1})


def test_a_collector_sees_only_the_private_facts_it_has_asked_for(build, stack, tmp_path):
    needy, modest = FakeCollector("needy", needs=("client_ip",)), FakeCollector("modest")
    site = build(stack, pages(), data_dir=tmp_path, collectors=[needy, modest])
    send(site)
    assert site.analytics.flush(10)
    assert found(everything(needy.events)) == {"address"}
    assert found(everything(modest.events)) == set()


def test_strict_privacy_gives_nobody_an_address_whatever_they_ask_for(build, stack, tmp_path):
    needy = FakeCollector("needy", needs=NEEDS)
    site = build(stack, pages(), data_dir=tmp_path, collectors=[needy], privacy="strict", store="default")
    send(site)
    assert site.analytics.flush(10)
    assert needy.events
    assert {event.client_ip for event in needy.events} == {None}
    assert found(everything(needy.events)) == set()
    assert on_disk(tmp_path) == set()
    assert re.search(rb"198\.51\.100\.", b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())) is None


def test_housekeeping_empties_the_log_without_being_told(build, stack, tmp_path, monkeypatch):
    """The address that a collector has read is gone from the write-ahead log within a minute."""
    needy = FakeCollector("needy", needs=("client_ip",))
    monkeypatch.setattr("analytics_middleware.housekeeping.EVERY", 0.0)
    monkeypatch.setattr("analytics_middleware.writer._TICK", 0.02)
    site = build(stack, pages(), data_dir=tmp_path, collectors=[needy])
    site.visit("/", peer=IP)
    assert site.analytics.flush(10)
    assert needy.events[0].client_ip == IP
    for _ in range(500):
        if not on_disk(tmp_path):
            return
        site.analytics.flush(0.05)
    pytest.fail(f"still there: {on_disk(tmp_path)}")
