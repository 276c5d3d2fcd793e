"""Milliseconds that each question takes on generated events, beside the same question asked of ClickHouse (chDB).

    python tests/benchmarks/questions.py [--events 1000000] [--users 200000] [--days 90] [--rounds 5] [--directory D]

All get the same events and the same two threads, one after the other, and free their memory in between: DuckDBStore,
ClickHouseStore on the same engine, and the question as somebody who knows ClickHouse would put it by hand, of a table
made for it, with its own functions, which don't always mean quite the same.
Questions cover the whole range unless their name says otherwise. "cold" is the first time in a new process.
"""

import argparse
import gc
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

BEGIN = datetime(2025, 1, 1, tzinfo=UTC)
NAMES = ["pageview", "search", "view_item", "add_to_cart", "checkout", "signup", "purchase", "share"]
SHARES = [0.62, 0.1, 0.12, 0.06, 0.03, 0.02, 0.01, 0.04]
COUNTRIES = ["US", "GB", "DE", "FR", "IN", "BR", "JP", "CA", "AU", "NL", "ES", "IT"]
SOURCES = [None, "Google", "newsletter", "Hacker News", "Bing", "x.com"]
PLANS = ["free", "pro", "team"]
ZONE = "America/New_York"


def generate(events: int, users: int, days: int, seed: int = 1):
    """Columns of events as traffic is: few users do much, in visits, by day more than by night."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, users + 1) ** 0.6
    visits = max(1, events // 5)
    visitor = rng.choice(users, visits, p=weights / weights.sum()).astype(np.int32)
    day = rng.integers(0, days, visits)
    hour = np.clip(rng.normal(14, 4.5, visits), 0, 23.9)
    start = ((day * 24 + hour) * 3600e6).astype(np.int64)
    lengths = rng.geometric(0.2, visits)
    owner = np.repeat(np.arange(visits), lengths)[:events]
    owner = np.concatenate([owner, rng.integers(0, visits, events - len(owner))])
    gaps = rng.exponential(60e6, events).astype(np.int64)
    first = np.concatenate([[True], owner[1:] != owner[:-1]])
    total = np.cumsum(gaps)
    since = total - np.maximum.accumulate(np.where(first, total, 0))
    at = np.minimum(start[owner] + since, days * 86_400_000_000 - 1)
    order = np.argsort(at, kind="stable")
    user = visitor[owner][order]
    return {
        "time": at[order] + int(BEGIN.timestamp() * 1e6),
        "user": user,
        "name": rng.choice(len(NAMES), events, p=SHARES).astype(np.int8),
        "path": np.minimum(rng.zipf(1.4, events), 2000).astype(np.int16),
        "country": (user % 97 % len(COUNTRIES)).astype(np.int8),
        "source": rng.integers(0, len(SOURCES), events).astype(np.int8),
        "plan": (user % 13 % len(PLANS)).astype(np.int8),
        "amount": rng.integers(100, 20_000, events).astype(np.int32),
        "id": rng.integers(0, 2**63, events, dtype=np.int64),
    }


def arrow(columns, rows):
    """Some of the events as the store's own table."""
    import pyarrow as pa

    from analytics_middleware.store.columns import SCHEMA

    part = {name: column[rows] for name, column in columns.items()}
    count = len(part["time"])

    def pick(codes, values):
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(values, pa.string()))

    known = part["user"] % 5 > 0  # the others only have a cookie
    users = pa.array([f"user-{number}" for number in part["user"].tolist()])
    bought = part["name"] == NAMES.index("purchase")
    page = part["name"] == 0
    given = {
        "event_id": pa.array([f"{number:032x}" for number in part["id"].tolist()]),
        "timestamp": pa.array(part["time"].astype("datetime64[us]")),
        "type": pick((~page).astype(np.int8), ["pageview", "custom"]),
        "name": pick(part["name"], NAMES),
        "event_name": pick(part["name"], [None, *NAMES[1:]]),
        "user_id": pa.compute.if_else(pa.array(known), users, None),
        "anon_id": pa.compute.if_else(pa.array(known), None, users),
        "path": pick(part["path"], [f"/page/{number}" for number in range(2001)]),
        "country": pick(part["country"], COUNTRIES),
        "source": pick(part["source"], SOURCES),
        "status_code": pa.array(np.full(count, 200)),
        "is_bot": pa.array(np.zeros(count, bool)),
        "properties": pick(part["plan"], [json.dumps({"plan": plan, "beta": True}) for plan in PLANS]),
        "currency": pa.compute.if_else(pa.array(bought), "EUR", None),
        "revenue_minor": pa.compute.if_else(pa.array(bought), pa.array(part["amount"].astype(np.int64)), None),
    }
    return pa.table(
        {
            field.name: given[field.name].cast(field.type) if field.name in given else pa.nulls(count, field.type)
            for field in SCHEMA
        }
    )


def questions(days):
    """What is asked: of our store, and of ClickHouse."""
    from analytics_middleware.store import Filter
    from analytics_middleware.store import questions as q

    end = BEGIN + timedelta(days=days)
    span = {"start": BEGIN, "end": end}
    week = {"start": end - timedelta(days=7), "end": end}
    steps = ("view_item", "add_to_cart", "checkout")
    day = BEGIN + timedelta(days=days // 2)
    first = "(SELECT user, min(time) AS first FROM events GROUP BY user)"
    sessions = (
        "SELECT user, time, name, path, sum(new) OVER (PARTITION BY user ORDER BY time ROWS UNBOUNDED PRECEDING) AS s "
        "FROM (SELECT user, time, name, path, dateDiff('second', lagInFrame(time, 1, toDateTime64(0, 6, 'UTC')) OVER "
        "(PARTITION BY user ORDER BY time ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), time) > 1800 AS new "
        "FROM events)"
    )
    summary = (
        "SELECT count(), countIf(c = 1 AND v = 1), avg(l), median(l) FROM (SELECT user, s, count() AS c, "
        "countIf(name = 'pageview') AS v, dateDiff('second', min(time), max(time)) AS l, argMin(path, time) AS i, "
        f"argMax(path, time) AS o FROM ({sessions}) GROUP BY user, s)"
    )
    recent = f"time >= toDateTime64('{week['start']:%Y-%m-%d %H:%M:%S}', 6, 'UTC')"
    match = "name = 'view_item', name = 'add_to_cart', name = 'checkout'"
    return [
        ("volume, day", q.Volume(**span), "SELECT toDate(time) d, count() FROM events GROUP BY d ORDER BY d"),
        (
            f"volume, hour, {ZONE}",
            q.Volume(**span, bucket="hour", tz=ZONE),
            f"SELECT toStartOfHour(time, '{ZONE}') h, count() FROM events GROUP BY h ORDER BY h",
        ),
        (
            "volume by country",
            q.Volume(**span, breakdown="country"),
            "SELECT country, toDate(time) d, count() FROM events GROUP BY country, d ORDER BY country, d",
        ),
        (
            "top events",
            q.TopEvents(**span),
            "SELECT name, count() c FROM events GROUP BY name ORDER BY c DESC LIMIT 10",
        ),
        (
            "top property values",
            q.TopProperties(**span, event="", prop="plan"),
            "SELECT JSONExtractString(properties, 'plan') p, count() c FROM events GROUP BY p ORDER BY c DESC LIMIT 10",
        ),
        (
            "top pages by users",
            q.TopValues(**span, field="path"),
            "SELECT path, uniqExact(user) u, count() c FROM events GROUP BY path ORDER BY u DESC, c DESC LIMIT 10",
        ),
        ("active users", q.ActiveUsers(**span), "SELECT uniqExact(user) FROM events"),
        ("active users, 7 days", q.ActiveUsers(**week), f"SELECT uniqExact(user) FROM events WHERE {recent}"),
        (
            "active users by source",
            q.ActiveUsers(**span, breakdown="source"),
            "SELECT source, uniqExact(user) u FROM events GROUP BY source ORDER BY u DESC",
        ),
        (
            "active users, filtered",
            q.ActiveUsers(**span, where=(Filter("properties.plan", "eq", "pro"), Filter("country", "ne", "GB"))),
            (
                "SELECT uniqExact(user) FROM events WHERE JSONExtractString(properties, 'plan') "
                "= 'pro' AND country != 'GB'"
            ),
        ),
        (
            "overview",
            q.Overview(**span),
            (
                "SELECT (SELECT uniqExact(user) FROM events), (SELECT countIf(name = 'pageview') "
                f"FROM events), ({summary})"
            ),
        ),
        (
            "dashboard summary",
            q.DashboardSummary(),
            (
                "SELECT count(), uniqExactIf(user, time >= "
                f"toDateTime64('{end - timedelta(days=1):%Y-%m-%d %H:%M:%S}', 6, "
                f"'UTC')), uniqExact(user), topK(10)(name) FROM events WHERE {recent}"
            ),
        ),
        (
            "funnel, 3 steps, 7 d window",
            q.Funnel(**span, steps=steps, window=timedelta(days=7)),
            (
                "SELECT l, count() FROM (SELECT user, "
                "windowFunnel(604800000000)(toUInt64(toUnixTimestamp64Micro(time)), "
                f"{match}) l FROM events WHERE name IN ('view_item', 'add_to_cart', 'checkout') "
                "GROUP BY user) GROUP BY l"
            ),
        ),
        (
            "funnel from page views, by country",
            q.Funnel(**span, steps=("pageview", "signup", "purchase"), breakdown="country"),
            (
                "SELECT c, l, count() FROM (SELECT user, any(country) c, windowFunnel(9000000000000)(toUInt64("
                "toUnixTimestamp64Micro(time)), name = 'pageview', name = 'signup', name = 'purchase') l FROM events "
                "WHERE name IN ('pageview', 'signup', 'purchase') GROUP BY user) GROUP BY c, l"
            ),
        ),
        (
            "funnel, strict",
            q.Funnel(**span, steps=steps, order="strict"),
            (
                "SELECT l, count() FROM (SELECT user, windowFunnel(9000000000000, 'strict_order')(toUInt64("
                f"toUnixTimestamp64Micro(time)), {match}) l FROM events GROUP BY user) GROUP BY l"
            ),
        ),
        (
            "retention of a day",
            q.Retention(start=day, offsets=(0, 1, 7, 14, 30)),
            (
                f"SELECT dateDiff('day', f.first, e.time) k, uniqExact(e.user) FROM events e INNER JOIN {first} f "
                f"USING (user) WHERE toDate(f.first) = '{day:%Y-%m-%d}' AND k IN (0, 1, 7, 14, 30) GROUP BY k"
            ),
        ),
        (
            "retention matrix, week",
            q.RetentionMatrix(**span, period="week"),
            (
                "SELECT toStartOfWeek(f.first, 1) w, dateDiff('week', f.first, e.time) k, uniqExact(e.user) FROM "
                f"(SELECT DISTINCT user, toStartOfWeek(time, 1) time FROM events) e INNER JOIN {first} f USING (user) "
                "GROUP BY w, k"
            ),
        ),
        (
            f"retention matrix, day, {ZONE}",
            q.RetentionMatrix(**span, period="day", tz=ZONE),
            (
                f"SELECT toDate(f.first, '{ZONE}') w, dateDiff('day', toDate(f.first, '{ZONE}'), "
                "e.d) k, uniqExact(e.user) "
                f"FROM (SELECT DISTINCT user, toDate(time, '{ZONE}') d FROM events) e INNER JOIN "
                f"{first} f USING (user) "
                "GROUP BY w, k"
            ),
        ),
        (
            "lifecycle, day",
            q.Lifecycle(**span),
            (
                "SELECT d, countIf(n = 1), countIf(d - p = 1), countIf(n > 1 AND d - p > 1) FROM (SELECT user, d, "
                "row_number() OVER w n, lagInFrame(d) OVER w p FROM (SELECT DISTINCT user, toDate(time) d FROM events) "
                "WINDOW w AS (PARTITION BY user ORDER BY d ROWS BETWEEN UNBOUNDED PRECEDING AND "
                "CURRENT ROW)) GROUP BY d"
            ),
        ),
        (
            "stickiness, week",
            q.Stickiness(**span),
            (
                "SELECT w, n, count() FROM (SELECT user, toStartOfWeek(time, 1) w, "
                "uniqExact(toDate(time)) n FROM events "
                "GROUP BY user, w) GROUP BY w, n"
            ),
        ),
        ("sessions", q.Sessions(**span), summary),
        ("sessions, 7 days", q.Sessions(**week), summary.replace("FROM events", f"FROM events WHERE {recent}")),
        (
            "paths after an event",
            q.Paths(**span, event="search"),
            (
                "SELECT arraySlice(a, indexOf(a, 'search') + 1, 3) p, count() c FROM (SELECT user, s, "
                "arrayMap(x -> x.2, arraySort(groupArray((time, name)))) a "
                f"FROM ({sessions}) GROUP BY user, s HAVING has(a, 'search')) GROUP BY p ORDER BY c DESC LIMIT 10"
            ),
        ),
        (
            "revenue, week",
            q.Revenue(**span, bucket="week"),
            (
                "SELECT currency, toStartOfWeek(time, 1) w, sum(revenue), count(), uniqExactIf(user, revenue > 0) "
                "FROM events WHERE currency != '' GROUP BY currency, w"
            ),
        ),
        (
            "timeline of one user",
            q.UserTimeline(**span, user_id="user-1"),
            "SELECT * FROM events WHERE user = 'user-1' ORDER BY time DESC LIMIT 100",
        ),
    ]


def ask(store, question, now):
    from analytics_middleware.store import questions as q

    methods = {
        q.Volume: store.volume, q.TopEvents: store.top_events, q.TopProperties: store.top_properties,
        q.TopValues: store.top_values, q.ActiveUsers: store.active_users, q.Overview: store.overview,
        q.DashboardSummary: store.dashboard_summary, q.Funnel: store.funnel, q.Retention: store.retention,
        q.RetentionMatrix: store.retention_matrix, q.Lifecycle: store.lifecycle, q.Stickiness: store.stickiness,
        q.Sessions: store.sessions, q.Paths: store.paths, q.Revenue: store.revenue, q.UserTimeline: store.timeline,
    }  # fmt: skip
    timed = (q.Volume, q.DashboardSummary, q.Retention, q.RetentionMatrix, q.Lifecycle, q.Stickiness, q.Revenue)
    return methods[type(question)](question, **({"now": now} if isinstance(question, timed) else {}))


def opened(directory):
    from analytics_middleware.outbox.sqlite import SqliteOutbox
    from analytics_middleware.store import DuckDBStore

    return DuckDBStore(SqliteOutbox(directory))


def load_ours(arguments, directory):
    """Generate the events and load them; return rates and sizes."""
    columns = generate(arguments.events, arguments.users, arguments.days)
    store = opened(directory)
    chunk = 500_000
    loading = 0.0
    for begin in range(0, arguments.events, chunk):
        table = arrow(columns, slice(begin, begin + chunk))
        since = time.perf_counter()
        store.append_table(table)
        loading += time.perf_counter() - since
    since = time.perf_counter()
    store.maintain()
    loading += time.perf_counter() - since
    size = sum(segment.bytes for segment in store.sealer.state().segments)
    store.close()
    return {
        "loading and compacting, events/s": arguments.events / loading,
        "bytes per event": size / arguments.events,
    }


def load_events(directory):
    """Rate at which Event objects are taken in, through the log and directly."""
    from analytics_middleware.event import Event, EventType, Visit

    events = [
        Event(type=EventType.PAGEVIEW, user_id=f"u{number % 5000}", path=f"/{number % 300}", status_code=200,
              timestamp=BEGIN + timedelta(seconds=number), properties={"plan": "pro"}, visit=Visit(country="GB"))
        for number in range(50_000)
    ]  # fmt: skip
    store = opened(directory)
    store.apply([Event(timestamp=BEGIN)])  # imports what it needs
    since = time.perf_counter()
    for begin in range(0, len(events), 10_000):
        store.apply(events[begin : begin + 10_000])
    rate = len(events) / (time.perf_counter() - since)
    store.close()
    return {"Event objects, events/s": rate}


def time_ours(arguments, directory):
    now = BEGIN + timedelta(days=arguments.days) - timedelta(hours=1)
    times = {}
    opened(directory / "empty").top_events(questions(arguments.days)[3][1])  # imports what it needs
    since = time.perf_counter()
    store = opened(directory)
    store.top_events(questions(arguments.days)[3][1])
    times["(opening and the first answer)"] = [time.perf_counter() - since]
    for name, question, _ in questions(arguments.days):
        measured = []
        for _ in range(arguments.rounds + 1):
            frame = store._reader.frame()
            frame.answers.clear()
            frame.selections.clear()
            since = time.perf_counter()
            ask(store, question, now)
            measured.append(time.perf_counter() - since)
        times[name] = measured
    question = questions(arguments.days)[10][1]
    ask(store, question, now)
    since = time.perf_counter()
    ask(store, question, now)
    times["(overview asked again)"] = [time.perf_counter() - since]
    return times


def time_clickhouse(arguments, directory):
    import pyarrow.parquet as pq
    from chdb import session

    columns = generate(arguments.events, arguments.users, arguments.days)
    shutil.rmtree(directory / "chdb", ignore_errors=True)
    clickhouse = session.Session(str(directory / "chdb"))
    clickhouse.query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
    clickhouse.query("USE bench")
    clickhouse.query(
        "CREATE TABLE events (time DateTime64(6, 'UTC'), user String, name LowCardinality(String), "
        "path LowCardinality(String), country LowCardinality(String), source LowCardinality(String), "
        "properties String, currency LowCardinality(String), revenue Int64, event_id String) "
        "ENGINE = MergeTree PARTITION BY toYYYYMM(time) ORDER BY (user, time)"
    )
    chunk = 500_000
    since = time.perf_counter()
    for begin in range(0, arguments.events, chunk):
        table = arrow(columns, slice(begin, begin + chunk))
        user = table.column("user_id").combine_chunks().fill_null(table.column("anon_id").combine_chunks())
        table = table.append_column("user", user)
        path = directory / "chunk.parquet"
        pq.write_table(table, path, compression="none")
        clickhouse.query(
            "INSERT INTO events SELECT timestamp, user, name, path, country, ifNull(source, ''), properties, "
            f"ifNull(currency, ''), ifNull(revenue_minor, 0), event_id FROM file('{path}', Parquet)"
        )
        path.unlink()
    times = {"(loading)": [time.perf_counter() - since]}
    del columns
    gc.collect()
    clickhouse.query("OPTIMIZE TABLE events FINAL")
    for name, _, query in questions(arguments.days):
        measured = []
        for _ in range(arguments.rounds + 1):
            since = time.perf_counter()
            clickhouse.query(f"{query} SETTINGS max_threads = 2", "Null")
            measured.append(time.perf_counter() - since)
        times[name] = measured
    return times


def time_clickhouse_store(arguments, directory):
    import pyarrow.parquet as pq

    from analytics_middleware.store import ClickHouseStore

    columns = generate(arguments.events, arguments.users, arguments.days)
    shutil.rmtree(directory / "clickhouse", ignore_errors=True)
    store = ClickHouseStore(f"chdb://{directory / 'clickhouse'}?database=bench", question_timeout=600)
    store.migrate()
    command = store._connection.command
    command("SET max_threads = 2")
    chunk = 500_000
    since = time.perf_counter()
    for begin in range(0, arguments.events, chunk):
        path = directory / "chunk.parquet"
        pq.write_table(arrow(columns, slice(begin, begin + chunk)), path, compression="none")
        command(
            "INSERT INTO bench.events (event_id, timestamp, kind, user_id, anon_id, type, name, event_name, path, "
            "country, source, status_code, currency, revenue_minor, revenue, properties, texts) SELECT event_id, "
            "timestamp, if(isNull(user_id), 1, 0), ifNull(user_id, ''), ifNull(anon_id, ''), type, name, event_name, "
            "path, country, source, status_code, currency, ifNull(revenue_minor, 0), revenue_minor / 100, properties, "
            f"map('plan', JSONExtractString(properties, 'plan'), 'beta', 'true') FROM file('{path}', Parquet)"
        )
        path.unlink()
    command("INSERT INTO bench.taken SELECT event_id, timestamp FROM bench.events")
    command(
        "INSERT INTO bench.first_seen (kind, id, bot, since, at) SELECT kind, if(kind = 0, user_id, anon_id) AS name, "
        "bot, 0, min(toUnixTimestamp64Micro(timestamp)) FROM bench.events GROUP BY kind, name, bot"
    )
    times = {"(loading)": [time.perf_counter() - since]}
    del columns
    gc.collect()
    command("OPTIMIZE TABLE bench.events FINAL")
    [(size,)] = store._connection.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE database = 'bench' AND active"
    )
    times["(bytes per event)"] = [size / arguments.events]
    now = BEGIN + timedelta(days=arguments.days) - timedelta(hours=1)
    for name, question, _ in questions(arguments.days):
        measured = []
        for _ in range(arguments.rounds + 1):
            since = time.perf_counter()
            ask(store, question, now)
            measured.append(time.perf_counter() - since)
        times[name] = measured
    store.close()
    return times


PARTS = {"load": load_ours, "ours": time_ours, "store": time_clickhouse_store, "clickhouse": time_clickhouse}


WIDTHS = [9, 9, 9, 11, 9, 11, 9, 8]


def figures(times):
    return [f"{min(times) * 1e3:.1f}", f"{statistics.median(times) * 1e3:.1f}"]


def run(part, arguments, directory):
    """Run one part in a process of its own, so that it has all memory and gives it back."""
    command = [sys.executable, __file__, "--part", part, "--directory", str(directory)]
    command += ["--events", str(arguments.events), "--users", str(arguments.users), "--days", str(arguments.days)]
    command += ["--rounds", str(arguments.rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        print(f"{part}: failed with {done.returncode}")
        return {}
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--without-clickhouse", action="store_true")
    parser.add_argument("--part", choices=PARTS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](arguments, arguments.directory)))
        return
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="questions-"))
    try:
        if not (directory / "segments").exists():
            for name, value in run("load", arguments, directory).items():
                print(f"{name:<40}{value:>12,.0f}")
        with tempfile.TemporaryDirectory() as other:
            print(f"{'Event objects, events/s':<40}{load_events(Path(other))['Event objects, events/s']:>12,.0f}")
        ours = run("ours", arguments, directory)
        outgrown = {} if arguments.without_clickhouse else run("store", arguments, directory)
        theirs = {} if arguments.without_clickhouse else run("clickhouse", arguments, directory)
        print(f"\n{arguments.events:,} events, milliseconds")
        print(f"{'':<40}{'DuckDBStore':>27}{'ClickHouseStore':>20}{'ClickHouse by hand':>20}")
        heads = ["cold", "best", "median", "best", "median", "best", "median", "ratio"]
        print(f"{'':<40}" + "".join(f"{head:>{width}}" for head, width in zip(heads, WIDTHS, strict=True)))
        for name, measured in ours.items():
            warm = measured[1:] or measured
            cells = [f"{measured[0] * 1e3:.0f}", *figures(warm)]
            if name in theirs:
                cells += [*figures(outgrown[name][1:]), *figures(theirs[name][1:])]
                cells.append(f"{min(theirs[name][1:]) / min(warm):.1f}")
            print(f"{name:<40}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=False)))
        for name in ("(loading)", "(bytes per event)"):
            if outgrown:
                print(f"ClickHouseStore {name}: {outgrown[name][0]:,.1f}")
    finally:
        if arguments.directory is None:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
