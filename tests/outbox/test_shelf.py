"""What people keep is the same on disk and in memory, and on disk for every process."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.shelf import PrivateShelf, SharedShelf, Shelf


@pytest.fixture(params=["disk", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelf]:
    if request.param == "memory":
        yield PrivateShelf()
        return
    database = Database(tmp_path)
    yield SharedShelf(database)
    database.close()


def test_what_is_put_is_kept_by_kind_and_key_until_it_is_removed(shelf: Shelf):
    assert shelf.put("funnel", "a", b"1", 9)
    assert shelf.put("filter", "a", b"2", 9)
    assert shelf.put("funnel", "a", b"3", 9)
    assert (shelf.all("funnel"), shelf.get("filter", "a"), shelf.get("filter", "b")) == ({"a": b"3"}, b"2", None)
    assert shelf.remove("funnel", "a")
    assert not shelf.remove("funnel", "a")
    assert (shelf.all("funnel"), shelf.all("filter"), shelf.all("none")) == ({}, {"a": b"2"}, {})


def test_there_is_room_for_so_many_of_a_kind_and_replacing_needs_none(shelf: Shelf):
    assert [shelf.put("funnel", key, b"x", 2) for key in "abc"] == [True, True, False]
    assert shelf.put("funnel", "a", b"y", 2)
    assert shelf.put("funnel", "c", b"z", 2, instead_of="b")
    assert not shelf.put("funnel", "d", b"z", 2, instead_of="nothing")
    assert shelf.put("filter", "d", b"z", 2)
    assert shelf.all("funnel") == {"a": b"y", "c": b"z"}


def test_renaming_leaves_nothing_under_the_old_key(shelf: Shelf):
    shelf.put("funnel", "old", b"1", 5)
    shelf.put("funnel", "new", b"2", 5, instead_of="old")
    shelf.put("funnel", "new", b"3", 5, instead_of="new")
    assert shelf.all("funnel") == {"new": b"3"}


def test_any_text_is_a_key(shelf: Shelf):
    for key in ("", "é' OR 1=1 --", "\x00", "x" * 5000):
        shelf.put("funnel", key, key.encode(), 9)
    assert {key: value.decode() for key, value in shelf.all("funnel").items()} == {
        key: key for key in ("", "é' OR 1=1 --", "\x00", "x" * 5000)
    }


def test_every_process_sees_the_same(tmp_path: Path):
    one, two = Database(tmp_path), Database(tmp_path)
    SharedShelf(one).put("funnel", "a", b"1", 5)
    assert SharedShelf(two).all("funnel") == {"a": b"1"}
    SharedShelf(two).remove("funnel", "a")
    assert SharedShelf(one).all("funnel") == {}
    one.close()
    two.close()
