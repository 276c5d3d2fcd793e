"""`Analytics.maintain` does at once what is else done by and by, and says whether anything is left behind."""

import sqlite3

from analytics_middleware import Analytics
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.database import FILE
from analytics_middleware.store import MemoryStore
from analytics_middleware.testing import FakeCollector

PRIVATE = b'{"client_ip": "198.51.100.77"}'


def rows(directory):
    connection = sqlite3.connect(directory / FILE)
    try:
        return connection.execute("SELECT count(*), count(private) FROM log").fetchone()
    finally:
        connection.close()


def test_all_that_everybody_has_passed_is_gone_at_once_however_much_it_is(tmp_path):
    analytics = Analytics(data_dir=tmp_path, store=None, enabled=True)
    drafts = [Draft("event", str(number), 1.8e9, b"{}", PRIVATE) for number in range(5000)]
    analytics._outbox.append(drafts, {})
    assert rows(tmp_path) == (5000, 5000)
    assert analytics.maintain()
    assert rows(tmp_path) == (0, 0)
    assert PRIVATE not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    analytics._outbox.close()


def test_an_address_is_released_when_its_readers_have_passed_though_others_have_not(tmp_path):
    """A collector that is down keeps events waiting, not what only another one needs."""
    analytics = Analytics([FakeCollector("reader"), FakeCollector("slow")], data_dir=tmp_path, store=None, enabled=True)
    outbox = analytics._outbox
    outbox.register("reader", reads_private=True)
    outbox.register("slow")
    outbox.append([Draft("event", "1", 1.8e9, b"{}", PRIVATE)], {})
    assert analytics.maintain()
    assert rows(tmp_path) == (1, 1)
    with outbox.database.write() as connection:
        connection.execute("UPDATE consumer SET cursor = 1 WHERE name = 'reader'")
    assert analytics.maintain()
    assert rows(tmp_path) == (1, 0)
    assert PRIVATE not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    outbox.close()


def test_while_somebody_reads_it_says_that_something_is_left(tmp_path):
    analytics = Analytics(data_dir=tmp_path, store=None, enabled=True)
    analytics._outbox.append([Draft("event", "1", 1.8e9, b"{}", PRIVATE)], {})
    reader = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM log").fetchone()
    assert not analytics.maintain()
    reader.execute("COMMIT")
    reader.close()
    assert analytics.maintain()
    analytics._outbox.close()


def test_in_memory_there_is_nothing_to_clean_up():
    assert Analytics(enabled=True).maintain()


def test_the_store_is_looked_after_first_so_that_what_it_has_taken_can_go(tmp_path):
    done = []

    class Store(MemoryStore):
        def maintain(self):
            done.append(rows(tmp_path))

    analytics = Analytics(data_dir=tmp_path, store=Store(), enabled=True)
    analytics._outbox.append([Draft("event", "1", 1.8e9, b"{}")], {})
    assert analytics.maintain()
    assert done == [(1, 0)]
    analytics._outbox.close()
