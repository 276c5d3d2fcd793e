"""Sessions: which events of a visitor belong together, the same with and without a database."""

import pytest

from analytics_middleware.enrich.sessions import PrivateSessions, Sessions
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.visitors import SharedSessions

TIMEOUT = 1800.0
NOON = 1_750_000_000.0


@pytest.fixture(params=["private", "shared"])
def sessions(request, tmp_path):
    database = Database(tmp_path)
    yield Sessions(PrivateSessions() if request.param == "private" else SharedSessions(database), TIMEOUT)
    database.close()


def test_events_with_no_longer_gap_than_the_timeout_are_one_session(sessions):
    ids = [sessions.assign([("ann", NOON + at)])[0] for at in (0, 1800, 3600, 5401)]
    assert ids[0] == ids[1] == ids[2] != ids[3]


def test_a_straggler_from_before_has_a_session_of_its_own_and_does_not_end_the_present_one(sessions):
    present, straggler, after = (sessions.assign([("ann", NOON + at)])[0] for at in (0, -90_000, 10))
    assert present == after != straggler


def test_visitors_do_not_share_sessions(sessions):
    ann, bob, again = sessions.assign([("ann", NOON), ("bob", NOON), ("ann", NOON + 1)])
    assert ann == again != bob
