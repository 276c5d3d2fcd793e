"""``replay``: what the store has kept reaches each destination that takes the past, with its own time and id."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from destinations.all import VENDORS
from destinations.server import Server
from destinations.vendor import Vendor, action, numbered, purchase

from analytics_middleware import Analytics, cli

OLD, RECENT = timedelta(days=300), timedelta(hours=30)
TAKES = {"plausible": None, "ga4": {3, 4, 5}}
"""Which of six events a destination takes: all unless it is said here, None when history is refused."""


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    made: Vendor = request.param()
    return made


def test_history_reaches_whoever_takes_it_within_the_limits(
    vendor: Vendor, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once each, and nothing the second time; who does not take it says why."""
    server.handler = vendor.answer
    now = datetime.now(UTC)
    collector = vendor.make(server.url)
    analytics = Analytics([collector], data_dir=tmp_path, enabled=True)
    assert analytics.store is not None
    analytics.store.apply(
        [
            made(3 * part + index, timestamp=now - age + timedelta(seconds=index))
            for part, age in enumerate((OLD, RECENT))
            for index, made in enumerate((numbered, purchase, action))
        ]
    )
    words = ["replay", "--collector", vendor.name, "--since", "400d"]
    wanted = TAKES.get(vendor.name, set(range(6)))
    codes = [cli.main(words, application=lambda: analytics) for _ in range(2)]
    said = capsys.readouterr()
    analytics.outbox.close()
    if wanted is None:
        assert codes == [1, 1]
        assert "plausible can't take past events: Plausible gives every event the time at which" in said.err
        assert server.requests == []
        return
    assert codes == [0, 0]
    assert f"{len(wanted)} delivered." in said.out
    assert sorted(vendor.accepted) == sorted(wanted)
    # No address is kept, so none can be sent.
    assert [text for text in vendor.violations if "visitor's address" not in text] == []
