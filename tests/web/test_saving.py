"""What people save, over REST, on every stack."""

from typing import Any

import pytest
from visiting import OWN
from web_sites import READER, SERVER, Answer, Site

FUNNEL = {"name": "Till", "steps": ["pageview", "buy"], "window": "7d", "order": "strict", "breakdown": "country"}
FILTER = {
    "name": "Germany", "where": [{"field": "country", "op": "eq", "value": "DE"}],
    "period": "custom", "from": "2025-01-01", "to": "2025-01-31",
}  # fmt: skip
NOTE = {"day": "2025-03-01", "text": "Release 2.4"}
BODIES = {"saved-funnels": FUNNEL, "saved-filters": FILTER, "annotations": NOTE}


def delete(site: Site, path: str, headers: dict[str, str], **key: str) -> Answer:
    query = "&".join(f"{name}={value}" for name, value in key.items())
    return site.ask("DELETE", f"{path}?{query}", headers=headers)


@pytest.mark.parametrize("path", list(BODIES))
def test_it_is_saved_listed_and_deleted(site: Site, path: str):
    assert site.get(path).data == []
    made = site.post(path, BODIES[path], SERVER).data
    assert made == {**BODIES[path], **({"id": made["id"]} if path == "annotations" else {})}
    assert site.get(path).data == [made]
    key = {"id": made["id"]} if path == "annotations" else {"name": made["name"]}
    assert delete(site, path, SERVER, **key).data == {"deleted": True}
    assert site.get(path).data == []
    gone = delete(site, path, SERVER, **key)
    assert (gone.status, gone.error["code"], gone.error["field"]) == (404, "not_found", next(iter(key)))


def test_a_name_is_saved_once_and_a_day_is_annotated_as_often_as_one_likes(build: Any):
    site = build()
    for steps in (["a"], ["b"]):
        assert site.post("saved-funnels", {"name": "x", "steps": steps}, SERVER).status == 200
        site.post("annotations", {**NOTE, "id": "chosen"}, SERVER)
    assert site.get("saved-funnels").data == [
        {"name": "x", "steps": ["b"], "window": None, "order": "ordered", "breakdown": None}
    ]
    ids = [each["id"] for each in site.get("annotations").data]
    assert len(set(ids) - {"chosen"}) == 2


@pytest.mark.parametrize("path", list(BODIES))
def test_who_only_reads_changes_nothing_and_strangers_see_nothing(site: Site, path: str):
    made = site.post(path, BODIES[path], SERVER).data
    key = {"id": made["id"]} if path == "annotations" else {"name": made["name"]}
    for headers, status in ((READER, 403), ({}, 401), ({"authorization": "Bearer wrong"}, 401)):
        assert site.post(path, BODIES[path], headers).status == status
        assert delete(site, path, headers, **key).status == status
    assert site.get(path, headers={}).status == 401
    assert site.get(path).data == [made]
    assert site.analytics.stats()["ingest_refused"] == 0


@pytest.mark.parametrize("name", ["ASGI", "Flask", "Django WSGI with staff"])
def test_a_page_of_another_site_saves_nothing_with_a_readers_cookies(build: Any, name: str):
    readers = {"authorize": lambda request: True, "authorize_changes": lambda request: True}
    site = build(name, allowed_origins=["https://friend.example"], **readers)
    for headers in ({"origin": "https://friend.example"}, {"origin": "https://evil.example"}, {}):
        assert site.post("annotations", NOTE, headers).error["code"] == "origin"
    assert site.post("annotations", NOTE, OWN).status == 200
    assert len(site.get("annotations").data) == 1


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("saved-funnels", {"name": "a"}, "steps"),
        ("saved-funnels", {"name": "a", "steps": []}, "steps"),
        ("saved-funnels", {"name": "a", "steps": ["a"], "breakdown": "password"}, "breakdown"),
        ("saved-funnels", {"name": "a", "steps": ["a"], "colour": "red"}, "colour"),
        ("saved-funnels", {"name": "a", "steps": ["a"], "window": "7d\n"}, "window"),
        ("saved-filters", {"name": "a", "where": [{"field": "country"}]}, "where"),
        ("saved-filters", {"name": "a", "from": "0001-01-01"}, "from"),
        ("annotations", {"day": "today", "text": "a"}, "day"),
        ("annotations", {"day": "2025-01-01", "text": "\n\t"}, "text"),
        ("annotations", b"{", "body"),
        ("annotations", b"", "body"),
    ],
)
def test_what_cannot_be_saved_is_named(build: Any, path: str, body: Any, field: str):
    site = build()
    answer = site.post(path, body, SERVER)
    assert (answer.status, answer.error["field"]) == (400, field)
    assert site.get(path).data == []
    assert site.get(path, unknown="1").error["field"] == "unknown"
    assert delete(site, path, SERVER).status == 400
