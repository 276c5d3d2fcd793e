"""What an event costs, for sizing: bytes in the log, in the embedded store and in ClickHouse, and events a second.

    python tests/benchmarks/sizing.py [--events 200000] [--skip clickhouse] [--directory D]

Events are those of the demo's blog: page views, actions, searches, purchases, each with page, agent, place, channel and
session. Every part gets the same ones, one after the other, from one thread, on disk. ClickHouse is chDB, the same
engine in this process, so its figures are without a network; the hub is a server of its own on loopback.
"""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

from analytics_middleware.demo.history import month
from analytics_middleware.event import Event
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.sqlite import SqliteOutbox

KEY = "a-key-for-the-benchmark-only"
HUB = """
import os
from analytics_middleware import Analytics
from analytics_middleware.web.api import API
from analytics_middleware.web.asgi import ASGIRunner
analytics = Analytics(data_dir=os.environ["HUB_DIR"], secret_key=os.environ["HUB_KEY"], enabled=True)
app = ASGIRunner(API(analytics))
"""


def generate(count):
    """Events as the demo's visitors make them; a session each, as enrichment gives them."""
    made = []
    for seed in range(1, 1000):
        for event in month(datetime.now(UTC), seed=seed, busy=400):
            if isinstance(event, Event):
                event.visit = event.visit.__copy__()
                event.visit.session_id = f"{event.anon_id[-12:]}{event.timestamp:%j%H}"
                made.append(event)
                if len(made) == count:
                    return made
    return made


def batches(events, size):
    iterator = iter(events)
    return iter(lambda: list(islice(iterator, size)), [])


def size_of(directory):
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def timed(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def log(events, directory):
    outbox = SqliteOutbox(directory, max_pending=10**9, max_bytes=2**40)
    outbox.register("store")
    drafts = [Draft("event", each.event_id, each.timestamp.timestamp(), each.encode()) for each in events]
    seconds = timed(lambda: [outbox.append(batch, {}) for batch in batches(drafts, 500)])
    yield "log, as JSON", f"{sum(len(each.payload) for each in drafts) / len(events):,.0f} bytes an event"
    outbox.close()
    yield "log, on disk", f"{size_of(directory) / len(events):,.0f} bytes an event"
    yield "log, in groups of 500", f"{len(events) / seconds:,.0f} events/s"


def embedded(events, directory):
    from analytics_middleware.store import DuckDBStore

    outbox = SqliteOutbox(directory)
    store = DuckDBStore(outbox)
    seconds = timed(lambda: [store.apply(batch) for batch in batches(events, 5000)])
    compacting = timed(store.maintain)
    # Replaced files stay for a moment; they are not part of it.
    store.sealer.compactor.collect(-1)
    segments = size_of(directory / "segments")
    yield "embedded store, on disk", f"{segments / len(events):,.0f} bytes an event"
    yield "embedded store, sealed and compacted", f"{len(events) / (seconds + compacting):,.0f} events/s"
    store.close()
    outbox.close()


def clickhouse(events, directory):
    from analytics_middleware.assembly import build_store
    from analytics_middleware.settings import Settings

    outbox = SqliteOutbox(directory / "log")
    for size, some in ((500, events[: len(events) // 10]), (5000, events)):
        store = build_store(Settings(store=f"chdb://{directory}/by{size}"), outbox)
        store.migrate()
        seconds = timed(lambda store=store, some=some, size=size: [store.apply(each) for each in batches(some, size)])
        yield f"ClickHouse, in blocks of {size}", f"{len(some) / seconds:,.0f} events/s"
        if size == 5000:
            tables = store._connection.query("SELECT name FROM system.tables WHERE database = 'analytics'")
            for (name,) in tables:
                with contextlib.suppress(Exception):
                    store._connection.command(f"OPTIMIZE TABLE analytics.`{name}` FINAL")
            parts = store._connection.query(
                "SELECT table, sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'analytics' "
                "GROUP BY table ORDER BY 2 DESC"
            )
            total = sum(number for _, number in parts)
            yield "ClickHouse, compressed", f"{total / len(events):,.0f} bytes an event"
            for name, number in parts[:3]:
                yield f"  of it {name}", f"{number / len(events):,.1f}"
            yield from asked(store, len(events))
        store.close()
    outbox.close()


def asked(store, count):
    """What questions to all events cost, the quickest of seven: what is left by others on the machine varies."""
    from analytics_middleware.store import Insights

    insights = Insights(store)
    span = {"start": datetime.now(UTC) - timedelta(days=70), "end": datetime.now(UTC)}
    questions = {
        "events per day": lambda: insights.volume(**span),
        "active users": lambda: insights.active_users(**span),
        "top pages": lambda: insights.top_values("path", **span),
        "funnel of three steps": lambda: insights.funnel(["pageview", "search.submitted", "purchase"], **span),
        "retention by week": lambda: insights.retention_matrix(**span, period="week"),
        "sessions": lambda: insights.sessions(**span),
        "overview": lambda: insights.overview(**span),
    }
    for name, ask in questions.items():
        quickest = min(timed(ask) for _ in range(7))
        yield f"  {name}", f"{quickest * 1000:,.0f} ms, {quickest * 1e9 / count:,.0f} ms for a million events"


def hub(events, directory):
    from analytics_middleware.store import HubStore

    (directory / "sizing_hub.py").write_text(HUB)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "sizing_hub:app", "--port", str(port), "--log-level", "error"],
        cwd=directory,
        env={**os.environ, "HUB_DIR": f"{directory}/data", "HUB_KEY": KEY},
    )
    try:
        sender = HubStore(f"http://127.0.0.1:{port}/api/analytics", KEY)
        sender.apply([])
        some = events[: min(len(events), 40_000)]
        seconds = timed(lambda: [sender.apply(batch) for batch in batches(some, 5000)])
        yield "hub, from one host, on its disk when answered", f"{len(some) / seconds:,.0f} events/s"
        sender.close()
    finally:
        process.terminate()
        process.wait()


PARTS = {"log": log, "embedded": embedded, "hub": hub, "clickhouse": clickhouse}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--skip", action="append", default=[], choices=list(PARTS))
    parser.add_argument("--directory", help="where to write; default: a temporary directory")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    events = generate(arguments.events)
    found = {}
    for name, part in PARTS.items():
        if name in arguments.skip:
            continue
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            for what, figure in part(events, Path(directory)):
                found[what] = figure
                if not arguments.json:
                    print(f"{what:48} {figure}", flush=True)
    if arguments.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
