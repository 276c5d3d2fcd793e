"""``import``: files into the store, once each, whatever is in them."""

import gzip
import io
import os
import zipfile
from contextlib import redirect_stdout, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_middleware import Analytics, cli
from analytics_middleware.admission import admit
from analytics_middleware.event import Erase, Event, EventType, Identify, Visit
from analytics_middleware.importing import formats
from analytics_middleware.importing.applying import Importer
from analytics_middleware.importing.enriching import Enrichment
from analytics_middleware.importing.records import FileError
from analytics_middleware.money import Money
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.outbox.tombstones import Tombstones
from analytics_middleware.settings import Settings
from analytics_middleware.store import Insights, MemoryStore

from .stores import START, Kept, days

FORMATS = ("parquet", "csv", "jsonl")
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36"
RICH = Event(
    event_id="rich",
    type=EventType.ACTION,
    event_name="=bought",
    action_name="-1",
    timestamp=START + timedelta(microseconds=1),
    locale="en-GB",
    hostname="shop.example",
    user_id="'ann",
    anon_id="@k",
    matched_pattern="/buy/{id}",
    url="https://shop.example/buy/\\x41",
    path="/buy\n=1+1\u2028",
    method="POST",
    user_agent='a "quoted", agent',
    referrer="https://é.example/",
    duration=0.25,
    status_code=201,
    properties={"n": 1, "f": 0.5, "none": None, "yes": True, "text": "=1+1\n\u2028", "": "\N{SNOWMAN}"},
    revenue=Money("-12.345", "BHD"),
    visit=Visit(session_id="s", is_bot=True, browser="B", country="GB", trace_id="t", opted_out=True),
)


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "data")


@pytest.fixture
def other(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "other")


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("extension", FORMATS)
def test_an_export_comes_back_the_same_and_once(kept: Kept, other: Kept, tmp_path: Path, extension: str) -> None:
    kept.apply([RICH, *days(3)])
    file = str(tmp_path / f"events.{extension}")
    kept.run("export", f"--{extension}", file)
    assert other.run("import", file).stdout == "4 events imported, 0 known already.\n"
    assert other.events() == kept.events()
    assert other.run("import", file).stdout == "0 events imported, 4 known already.\n"
    assert other.events() == kept.events()


texts = st.none() | st.text(max_size=20) | st.sampled_from(["=1", "'", "\\x0a", "\\", "-", ""])
stored = st.builds(
    Event,
    event_id=st.text("abc-1", min_size=1, max_size=8),
    type=st.sampled_from(EventType),
    event_name=texts,
    user_id=texts,
    path=texts,
    timestamp=st.datetimes(datetime(1970, 1, 1), datetime(2026, 1, 1), timezones=st.just(UTC)),
    duration=st.none() | st.floats(0, 1e6),
    properties=st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | st.integers(-9, 9) | st.text()),
)


@pytest.mark.parametrize("extension", FORMATS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=st.lists(stored, max_size=5, unique_by=lambda event: event.event_id))
def test_any_events_come_back_the_same(
    tmp_path_factory: pytest.TempPathFactory, extension: str, records: list[Event]
) -> None:
    for record in records:
        admit(record)
    path = tmp_path_factory.mktemp("any")
    kept, other = Kept(path / "a"), Kept(path / "b")
    kept.apply(records)
    kept.run("export", f"--{extension}", str(path / "file"))
    other.run("import", str(path / "file"))
    assert other.events() == kept.events()


def test_a_directory_holds_people_too_and_who_is_erased(kept: Kept, other: Kept, tmp_path: Path) -> None:
    late = Event(event_id="late", timestamp=START, user_id="gone")
    kept.apply(
        [
            *days(40),
            Identify(user_id="ann", anon_id="k", traits={"plan": "pro"}, timestamp=START),
            Event(event_id="anonymous", timestamp=START, anon_id="k"),
            Erase(user_id="gone", timestamp=START + timedelta(days=1)),
        ]
    )
    (tmp_path / "out").mkdir()
    kept.run("export", "--csv", str(tmp_path / "out"))
    said = other.run("import", str(tmp_path / "out")).stdout
    assert "41 events imported" in said
    other.apply([late])
    assert other.events() == kept.events()
    with other.store() as store:
        assert [event.event_id for event in store.events(user_id="ann")][:2] == ["ann-0", "anonymous"]
        assert Insights(store).traits("ann") == {"plan": "pro"}


def test_who_was_erased_stays_erased(kept: Kept, tmp_path: Path) -> None:
    """Also what the user's browser did before signing in, whether or not the store has heard of the erasure yet."""
    kept.apply([*days(3), Event(timestamp=START, anon_id="k", user_id="ann"), *days(2, "bob")])
    file = str(tmp_path / "before.jsonl")
    kept.run("export", "--jsonl", file)
    with Path(file).open("a") as lines:
        lines.write(Event(event_id="anonymous", timestamp=START, anon_id="k").encode().decode() + "\n")
    kept.run("erase", "--user", "ann", "--yes")
    said = kept.run("import", file).stdout
    assert said == "0 events imported, 2 known already.\n5 refused: 5 erased.\n"
    assert {event.user_id for event in kept.events()} == {"bob"}


@pytest.mark.parametrize("knows", [True, False])
def test_what_an_old_copy_tells_of_somebody_erased_takes_what_the_browser_did(
    kept: Kept, tmp_path: Path, knows: bool
) -> None:
    """Whatever the order of the lines, and though nobody knew at the erasure whose the browser was."""
    lines = [
        Event(event_id="before", timestamp=START, anon_id="k"),
        Event(event_id="office", timestamp=START, anon_id="cl_x"),
        Event(timestamp=START + timedelta(hours=1), user_id="ann", anon_id="k"),
        Event(timestamp=START + timedelta(hours=1), user_id="ann", anon_id="cl_x"),
        Event(event_id="after", timestamp=START + timedelta(hours=2), anon_id="k"),
    ]
    file = tmp_path / "before.jsonl"
    file.write_text("".join(f"{line.encode().decode()}\n" for line in lines))
    kept.apply([Event(event_id="stored", timestamp=START, anon_id="k"), *days(1, "bob")])
    kept.run("erase", "--user", "ann", "--yes")
    if knows:
        with kept.store() as store:
            assert store.maintain()
    said = kept.run("import", str(file)).stdout
    assert said == "1 event imported, 0 known already.\n4 refused: 4 erased.\n"
    assert {event.event_id for event in kept.events()} == {"bob-0", "office"}


def test_a_store_younger_than_an_erasure_learns_of_it_with_whose_a_browser_was() -> None:
    store = MemoryStore()
    tombstones = Tombstones([("user", "ann", (START + timedelta(hours=4)).timestamp())])
    importer = Importer(store, tombstones)
    importer.add(
        [
            Event(event_id="a", timestamp=START, anon_id="k"),
            Event(event_id="b", timestamp=START + timedelta(hours=1), user_id="ann", anon_id="k"),
            Event(event_id="c", timestamp=START + timedelta(hours=5), anon_id="k"),
        ]
    )
    importer.finish()
    assert [event.event_id for event in store.events()] == ["c"]
    assert dict(importer.tally.refused) == {"erased": 2}
    assert (importer.tally.imported, importer.tally.people) == (1, 0)


def test_first_dates_come_back_though_their_events_are_deleted(kept: Kept, other: Kept, tmp_path: Path) -> None:
    kept.apply([*days(3), Event(event_id="k", timestamp=START + timedelta(days=3), anon_id="k")])
    with kept.store() as store:
        store.maintain()
    (tmp_path / "out").mkdir()
    kept.run("export", "--parquet", str(tmp_path / "out"))
    (tmp_path / "out" / "events-2025-03.parquet").unlink()
    late = days(9)[8:]
    other.apply(late)
    with other.store() as store:
        assert store.maintain()
        busy = other.run("import", str(tmp_path / "out")).stdout
    assert "2 refused: 2 first dates" in busy
    assert "2 records of people taken" in other.run("import", str(tmp_path / "out")).stdout
    with other.store() as store:
        ask = Insights(store)
        user = ask.timeline("ann", start="2025-03-01", end="2025-04-01").user
        assert user is not None
        assert user.first_seen == START
        assert {seen.anon_id or seen.user_id for seen in store.first_seen()} == {"ann", "k"}
    assert other.events() == late


def test_only_a_range(kept: Kept, other: Kept, tmp_path: Path) -> None:
    kept.apply(days(5))
    kept.run("export", "--parquet", str(tmp_path / "e.parquet"))
    said = other.run("import", "--from", "2025-03-02", "--to", "2025-03-04", str(tmp_path / "e.parquet")).stdout
    assert "2 events imported" in said
    assert "3 make no event: 3 out of range" in said


def test_lines_of_other_programs_need_a_time_and_get_the_same_id_each_time(kept: Kept, tmp_path: Path) -> None:
    file = write(
        tmp_path / "mine.jsonl",
        '{"event_name":"a","timestamp":"2025-03-01T00:00:00Z"}\n{"event_name":"b"}\n\n'
        '{"event_name":"c","timestamp":"2025-03-01T00:00:00Z","event_id":"not an id: it has spaces in it"}\n',
    )
    assert "2 events imported" in kept.run("import", file).stdout
    again = kept.run("import", file).stdout
    assert "0 events imported, 2 known" in again
    assert "1 refused: 1 no timestamp" in again


def test_the_wrong_field_of_a_line_is_named(kept: Kept, tmp_path: Path) -> None:
    at = '"timestamp":"2025-03-01T00:00:00Z"'
    lines = (
        f'{{{at},"user_id":7}}',
        f'{{{at},"user_id":8}}',
        f'{{{at},"properties":{{"a":[1]}}}}',
        '{"timestamp":5}',
        "not json - at `$.x`",
    )
    said = kept.run("import", "--format", "jsonl", write(tmp_path / "wrong.jsonl", "\n".join(lines))).stdout
    assert "5 refused: 2 wrong user_id, 1 wrong properties[...], 1 wrong timestamp, 1 not an event." in said


HOSTILE = [
    b"\0" * 100,
    b"\xff\xfe{}",
    b'{"timestamp": 1e400}',
    b'{"timestamp":"2025-03-01T00:00:00Z","type":"other"}',
    b'{"timestamp":"0001-01-01T00:00:00Z"}',
    b'{"timestamp":"2025-03-01T00:00:00Z","request":{}}',
    b'{"timestamp":"2025-03-01T00:00:00Z","revenue":{"amount":"1e999999999","currency":"EUR"}}',
    b'{"timestamp":"2025-03-01T00:00:00Z","properties":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}",
    b"[" * 100_000,
    b'{"erase":{"user_id":1}}',
    b"x" * 3_000_000,
]


def test_no_line_stops_an_import(kept: Kept, tmp_path: Path) -> None:
    good = [event.encode() for event in days(2)]
    file = tmp_path / "hostile.jsonl"
    file.write_bytes(b"\r\n".join([good[0], *HOSTILE, good[1]]))
    said = kept.run("import", str(file)).stdout
    assert "2 events imported" in said
    assert f"{len(HOSTILE)} refused" in said
    assert "1 too long" in said


def test_an_event_of_many_long_properties_comes_back_from_csv(kept: Kept, other: Kept, tmp_path: Path) -> None:
    event = Event(timestamp=START, properties={f"p{number}": f'{number},"' + "ü" * 4000 for number in range(64)})
    kept.apply([event])
    file = str(tmp_path / "events.csv")
    kept.run("export", "--csv", file)
    assert "1 event imported" in other.run("import", file).stdout
    assert other.events() == kept.events()


def test_rows_of_csv_that_are_wrong_are_counted(kept: Kept, tmp_path: Path) -> None:
    head = '"event_id","timestamp","type","status_code","properties"\n'
    file = write(
        tmp_path / "rows.csv",
        head + '"a","2025-03-01T00:00:00Z","pageview","200","{}"\n'
        '"b","yesterday","pageview","200",""\n"c","2025-03-01","pageview"\n"d","2025-03-01","nothing","",""\n'
        '"e","2025-03-01","custom","many",""\n"f","2025-03-01","custom","","[1]"\n'
        '"g","2025-03-02","custom","1","' + "x" * 200_000 + '"\n'
        '"h","2025-03-02","custom","404","{""a"": [1]}"\n"i" x,"2025-03-01","custom","",""\n"j","2025-03-02',
    )
    said = kept.run("import", file).stdout
    assert "2 events imported" in said
    events = {event.event_id: event for event in kept.events()}
    assert events["h"].properties == {"a": "[1]"}
    assert events["a"].type is EventType.PAGEVIEW


@pytest.mark.parametrize("head", ["timestamp,event_name,user_id", "user_id , type,timestamp", '"timestamp","event_id"'])
def test_csv_of_others_needs_only_some_of_the_columns(kept: Kept, tmp_path: Path, head: str) -> None:
    cells = {"timestamp": "2025-03-01T00:00:00Z", "event_name": "a", "type": "custom", "user_id": "ann", "event_id": ""}
    line = ",".join(cells[name.strip(' "')] for name in head.split(","))
    file = write(tmp_path / "mine.csv", f"\ufeff{head}\n{line}\n")
    assert "1 event imported" in kept.run("import", file).stdout
    assert "0 events imported, 1 known" in kept.run("import", file).stdout


@pytest.mark.parametrize("text", ["2025-03-01,a,ann\n", "timestamp;event_name\n2025-03-01;a\n"])
def test_csv_without_a_header_is_told(kept: Kept, tmp_path: Path, text: str) -> None:
    ended = kept.run("import", "--format", "csv", write(tmp_path / "mine.csv", text), check=False)
    assert ended.returncode == 1
    assert "mine.csv: its first line names no column timestamp" in ended.stderr


def test_parquet_of_others_is_read_row_by_row(kept: Kept, tmp_path: Path) -> None:
    columns = {
        "event_id": ["a", "b", None],
        "timestamp": pa.array([START, START, START], pa.timestamp("ms", "UTC")),
        "type": ["custom", "what", "custom"],
        "secret": [1, 2, 3],
    }
    pq.write_table(pa.table(columns), tmp_path / "e.parquet")
    said = kept.run("import", str(tmp_path / "e.parquet")).stdout
    assert said == "1 event imported, 0 known already.\n2 refused: 1 not an event, 1 no event_id.\n"
    assert [event.event_id for event in kept.events()] == ["a"]


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("what.bin", b"\x89PNG\r\n\x1a\n", "its format is not recognised"),
        ("broken.parquet", b"PAR1 no", "broken.parquet"),
        ("broken.log.gz", b"\x1f\x8b\x08 no gzip", "broken.log"),
        ("broken.zip", b"PK\x03\x04 no zip", "broken.zip"),
        ("access.log", b'192.0.2.1 - - [10/Oct/2025:13:55:36 -0700] "GET / HTTP/1.1" 200 1 "-" "x"', "--hostname"),
    ],
)
def test_a_file_that_can_not_be_read_is_named_and_others_are_taken(
    kept: Kept, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    (tmp_path / name).write_bytes(content)
    good = tmp_path / "good.jsonl"
    good.write_bytes(b"\n".join(event.encode() for event in days(2)))
    ended = kept.run("import", str(tmp_path / name), str(good), check=False)
    assert (ended.returncode, "2 events imported" in ended.stdout) == (1, True)
    assert why in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_a_file_that_is_not_there_is_told_before_anything_is_taken(kept: Kept, tmp_path: Path) -> None:
    good = tmp_path / "good.jsonl"
    good.write_bytes(days(1)[0].encode())
    ended = kept.run("import", str(good), str(tmp_path / "no.jsonl"), check=False)
    assert (ended.returncode, "there is no file" in ended.stderr) == (1, True)
    assert kept.events() == []


def test_a_hidden_file_is_taken_by_its_name_and_left_in_its_directory(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    hidden = tmp_path / "in" / ".backup.jsonl"
    hidden.write_bytes(days(1)[0].encode())
    assert "0 events imported" in kept.run("import", str(hidden.parent)).stdout
    assert "1 event imported" in kept.run("import", str(hidden)).stdout


def test_what_is_no_file_or_can_not_be_read_is_named(kept: Kept, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    good = tmp_path / "good.jsonl"
    good.write_bytes(days(1)[0].encode())
    # Not even root reads /proc/self/clear_refs.
    for path, why in ((pipe, "is not a regular file"), (Path("/proc/self/clear_refs"), "can't be read: ")):
        ended = kept.run("import", str(good), str(path), check=False)
        assert (ended.returncode, ended.stdout) == (1, "")
        assert f"{str(path)!r} {why}" in ended.stderr
        assert len(ended.stderr.splitlines()) == 1
    assert kept.events() == []


def test_what_unpacks_into_far_more_than_it_is_is_given_up(kept: Kept, tmp_path: Path) -> None:
    bomb = days(1)[0].encode() + b"\n" + (b" " * 999_999 + b"\n") * 150
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(bomb))
    ended = kept.run("import", str(tmp_path / "bomb.jsonl.gz"), check=False)
    assert (ended.returncode, "more than 200 times" in ended.stderr) == (1, True)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imported_pages.csv", bomb)
    (tmp_path / "bomb.zip").write_bytes(packed.getvalue())
    ended = kept.run("import", str(tmp_path / "bomb.zip"), check=False)
    assert (ended.returncode, "more than 200 times" in ended.stderr) == (1, True)


def test_the_members_of_an_archive_share_what_it_may_unpack_into(kept: Kept, tmp_path: Path) -> None:
    each = (b" " * 999_999 + b"\n") * 40
    with zipfile.ZipFile(tmp_path / "many.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(8):
            archive.writestr(f"imported_pages_2025030{number}_20250309.csv", each)
    ended = kept.run("import", str(tmp_path / "many.zip"), check=False)
    assert (ended.returncode, "more than 200 times" in ended.stderr) == (1, True)
    names = {f"{number}.csv": "" for number in range(1001)}
    ended = kept.run("import", zipped(tmp_path / "names.zip", names), check=False)
    assert (ended.returncode, "an archive of 1001 files" in ended.stderr) == (1, True)


def hit(request: str = "GET / HTTP/1.1", at: str = "10/Oct/2025:13:55:36 -0700", **given: str) -> str:
    said = {"ip": "203.0.113.9", "status": "200", "referrer": "-", "agent": CHROME, "before": "", **given}
    return (
        f'{said["before"]}{said["ip"]} - - [{at}] "{request}" {said["status"]} 2326 '
        f'"{said["referrer"]}" "{said["agent"]}"\n'
    )


def log(kept: Kept, tmp_path: Path, *lines: str, name: str = "access.log") -> str:
    file = write(tmp_path / name, "".join(lines))
    return kept.run("import", "--hostname", "shop.example", file).stdout


def test_a_log_says_of_a_page_view_what_the_pipeline_would(kept: Kept, tmp_path: Path) -> None:
    log(
        kept,
        tmp_path,
        hit("GET /caf%C3%A9/7?utm_source=news&token=SECRET HTTP/1.1", referrer="https://www.google.com/search?q=x"),
    )
    [event] = kept.events()
    assert event.timestamp == datetime(2025, 10, 10, 20, 55, 36, tzinfo=UTC)
    assert (event.type, event.path, event.hostname) == (EventType.PAGEVIEW, "/café/7", "shop.example")
    assert event.url == "https://shop.example/caf%C3%A9/7?utm_source=news"
    assert (event.visit.browser, event.visit.os, event.visit.device) == ("Chrome", "Linux", "desktop")
    assert (event.visit.source, event.visit.is_bot, event.status_code) == ("news", False, 200)
    assert event.anon_id is not None
    assert event.anon_id.startswith("cl_")


@pytest.mark.parametrize(
    ("request_line", "status", "kind"),
    [
        ("GET / HTTP/1.1", "200", "pageview"),
        ("GET /a/b HTTP/2.0", "304", "pageview"),
        ("GET /index.HTML HTTP/1.1", "200", "pageview"),
        ("GET http://shop.example/a HTTP/1.1", "200", "pageview"),
        ("POST /buy HTTP/1.1", "302", "action"),
        ("DELETE /cart/1 HTTP/1.1", "204", "action"),
        ("GET /app.css?v=1 HTTP/1.1", "200", "asset"),
        ("GET /logo.png HTTP/1.1", "304", "asset"),
        ("GET /old HTTP/1.1", "301", "redirect"),
        ("GET /wp-login HTTP/1.1", "404", "failed"),
        ("POST /xmlrpc.php HTTP/1.1", "403", "failed"),
        ("GET / HTTP/1.1", "204", "no content"),
        ("HEAD / HTTP/1.1", "200", "neither a page nor a change"),
        ("OPTIONS * HTTP/1.1", "200", "neither a page nor a change"),
        ("GET /healthz HTTP/1.1", "200", "excluded"),
        ("\\x16\\x03\\x01", "400", "not a request"),
        ("", "400", "not a request"),
    ],
)
def test_what_is_a_page_view_as_far_as_a_log_can_tell(
    kept: Kept, tmp_path: Path, request_line: str, status: str, kind: str
) -> None:
    said = log(kept, tmp_path, hit(request_line, status=status))
    events = [event.type.value for event in kept.events()]
    assert events == [kind] or (not events and f"1 {kind}" in said)


def test_bots_are_judged_where_the_log_tells_who_it_was(kept: Kept, tmp_path: Path) -> None:
    log(
        kept,
        tmp_path,
        hit("GET /a HTTP/1.1", agent="Mozilla/5.0 (compatible; Googlebot/2.1)"),
        hit("GET /b HTTP/1.1", agent="-"),
        '203.0.113.9 - frank [10/Oct/2025:13:55:36 -0700] "GET /c HTTP/1.0" 200 -\n',
    )
    assert {event.path: event.visit.is_bot for event in kept.events()} == {"/a": True, "/b": True, "/c": False}


def test_a_visitor_is_one_for_a_day_and_their_address_is_nowhere(kept: Kept, tmp_path: Path) -> None:
    log(
        kept,
        tmp_path,
        hit("GET /1 HTTP/1.1"),
        hit("GET /2 HTTP/1.1", "10/Oct/2025:13:56:36 -0700"),
        hit("GET /3 HTTP/1.1", "11/Oct/2025:13:56:36 -0700"),
        hit("GET /4 HTTP/1.1", ip="203.0.113.10"),
    )
    first, same, fourth, later = (next(e for e in kept.events() if e.path == f"/{n}") for n in (1, 2, 4, 3))
    assert first.anon_id == same.anon_id
    assert first.visit.session_id == same.visit.session_id
    assert len({first.anon_id, later.anon_id, fourth.anon_id}) == 3
    for file in kept.path.rglob("*"):
        assert not file.is_file() or b"203.0.113" not in file.read_bytes()


def test_hits_are_told_apart_and_a_log_said_again_counts_once(kept: Kept, tmp_path: Path) -> None:
    """Also when it was rotated and packed meanwhile, and has grown."""
    assert "2 events imported" in log(kept, tmp_path, hit(), hit())
    longer = hit() + hit() + hit("GET /more HTTP/1.1")
    (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(longer.encode()))
    said = kept.run("import", "--hostname", "shop.example", str(tmp_path / "access.log.1.gz")).stdout
    assert "1 event imported, 2 known already" in said


def test_a_virtual_host_in_the_line_is_the_site(kept: Kept, tmp_path: Path) -> None:
    file = write(tmp_path / "vhosts.log", hit(before="Two.Example:443 ", referrer="https://two.example/x"))
    kept.run("import", file)
    [event] = kept.events()
    assert (event.hostname, event.url, event.visit.channel) == ("two.example", "https://two.example/", None)


@pytest.mark.parametrize("name", ["https://shop.example", "shop.example/x", "a b", ""])
def test_a_host_name_is_no_address_of_a_page(kept: Kept, tmp_path: Path, name: str) -> None:
    ended = kept.run("import", "--hostname", name, write(tmp_path / "access.log", hit()), check=False)
    assert (ended.returncode, "is not a host name" in ended.stderr) == (2, True)


def test_hostile_log_lines_are_counted_and_passed_over(kept: Kept, tmp_path: Path) -> None:
    lines = [
        hit("GET /\\xff\\xfe\\x00 HTTP/1.1", agent='\\"; DROP TABLE \\x22 \\\\'),
        hit("GET / HTTP/1.1", at="99/Oct/2025:13:55:36 -0700"),
        hit("GET / HTTP/1.1", at="10/Okt/2025:13:55:36 -0700"),
        hit("GET / HTTP/1.1", at="10/Oct/2025:13:55:36 -9999"),
        hit("GET / HTTP/1.1", at="10/Oct/9999:13:55:36 -0700"),
        hit("GET / HTTP/1.1", at="10/Oct/1066:13:55:36 -0700"),
        "\0" * 1000 + "\n",
        '1.1.1.1 - - [10/Oct/2025:13:55:36 -0700] "' + "\\" * 100_000 + "\n",
        "1.1.1.1 " + "- " * 50_000 + "\n",
        "x" * 2_000_000 + "\n",
    ]
    said = log(kept, tmp_path, *lines)
    assert "1 event imported" in said
    assert "9 refused" in said
    assert "1 of the future" in said


UMAMI = (
    "website_id,session_id,visit_id,event_id,hostname,browser,os,device,screen,language,country,region,city,url_path,"
    "url_query,utm_source,referrer_path,referrer_query,referrer_domain,page_title,event_type,event_name,distinct_id,"
    "created_at\n"
    "w,s1,v1,e1,shop.example,edge-chromium,Mac OS,laptop,1440x900,en-GB,GB,GB-ENG,London,/a,utm_source=news,news,/p,,"
    'blog.example,"Tea, and more",1,,,2025-03-01 10:00:00\n'
    "w,s1,v1,e2,shop.example,edge-chromium,Mac OS,laptop,1440x900,en-GB,GB,GB-ENG,London,/a,,,,,,,2,bought,ann,"
    "2025-03-01 10:01:00.250+00\n"
    "w,s1,v1,e3,shop.example,,,,,,,,,/a,,,,,,,4,,,2025-03-01 10:02:00\n"
    "w,s1,v1,e4,shop.example,,,,,,,,,/a,,,,,,,1,,,never\n"
)
DATA = (
    "website_id,session_id,event_id,url_path,event_name,data_key,string_value,number_value,date_value,data_type,"
    "created_at\nw,s1,e2,/a,bought,plan,pro,,,1,x\nw,s1,e2,/a,bought,price,,9.5000,,2,x\n"
    "w,s1,e2,/a,bought,gift,true,,,3,x\n"
)


def zipped(path: Path, files: dict[str, str]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return str(path)


def test_umamis_export(kept: Kept, tmp_path: Path) -> None:
    file = zipped(tmp_path / "umami.zip", {"website_event.csv": UMAMI, "event_data.csv": DATA, "session_data.csv": ""})
    said = kept.run("import", file).stdout
    assert "2 events imported" in said
    assert "1 event_type 4" in said
    assert "1 refused: 1 not an event" in said
    view, bought = kept.events()
    assert (view.type, view.anon_id, view.path) == (EventType.PAGEVIEW, "s1", "/a")
    assert (view.url, view.referrer) == ("https://shop.example/a?utm_source=news", "https://blog.example/p")
    assert view.properties == {"page_title": "Tea, and more", "screen": "1440x900"}
    seen = view.visit
    assert (seen.browser, seen.os, seen.device, seen.country, seen.city) == ("Edge", "macOS", "desktop", "GB", "London")
    assert (seen.session_id, seen.source, seen.is_bot) == ("v1", "news", False)
    assert (bought.event_name, bought.user_id, bought.locale) == ("bought", "ann", "en-GB")
    assert {key: bought.properties[key] for key in ("plan", "price", "gift")} == {
        "plan": "pro",
        "price": 9.5,
        "gift": True,
    }
    assert "0 events imported, 2 known" in kept.run("import", write(tmp_path / "table.csv", UMAMI)).stdout


def test_umamis_properties_alone_are_no_events(kept: Kept, tmp_path: Path) -> None:
    said = kept.run("import", write(tmp_path / "event_data.csv", DATA)).stdout
    assert said == (
        "0 events imported, 0 known already.\n"
        "1 make no event: 1 properties without their events, which are in the same zip.\n"
    )


PLAUSIBLE = {
    "imported_pages_20250301_20250302.csv": '"date","hostname","page","visits","visitors","pageviews"\n'
    '"2025-03-01","shop.example","/",2,2,3\n"2025-03-02","shop.example","/tea",1,1,1\n'
    '"2025-03-02","shop.example","/x",1,1,99999999999999\n"someday","shop.example","/x",1,1,1\n',
    "imported_custom_events_20250301_20250302.csv": '"date","name","link_url","path","visitors","events"\n'
    '"2025-03-01","Outbound Link: Click","https://one.example/?token=SECRETSECRETSECRET1","",1,2\n',
    "imported_visitors_20250301_20250302.csv": '"date","visitors","pageviews","bounces","visits","visit_duration"\n'
    '"2025-03-01",2,3,1,2,60\n',
}


def test_plausibles_export_is_of_nobody(kept: Kept, tmp_path: Path) -> None:
    file = zipped(tmp_path / "shop_example_20250303.zip", PLAUSIBLE)
    said = kept.run("import", file).stdout
    assert "6 events imported" in said
    assert "1 imported_visitors: the same page views, divided differently" in said
    assert "2 refused" in said
    events = kept.events()
    assert all(event.user_id is None and event.anon_id is None for event in events)
    assert {event.timestamp.hour for event in events} == {12}
    assert [event.properties.get("url") for event in events if event.event_name] == ["https://one.example/"] * 2
    with kept.store() as store:
        ask = Insights(store)
        span = {"start": "2025-03-01", "end": "2025-03-03"}
        assert [point.count for point in ask.volume("pageview", **span)] == [3, 1]
        assert ask.active_users(**span).count == 0
    assert "0 events imported, 6 known" in kept.run("import", file).stdout


def test_an_import_is_written_for_its_owner_alone(kept: Kept, tmp_path: Path) -> None:
    log(kept, tmp_path, hit())
    for file in (kept.path / "segments").iterdir():
        assert file.stat().st_mode & 0o077 == 0


def test_the_help_says_that_collectors_get_nothing(kept: Kept) -> None:
    assert "no collector" in " ".join(kept.run("import", "--help").stdout.split())


def test_a_log_may_begin_with_half_a_line(kept: Kept, tmp_path: Path) -> None:
    said = log(kept, tmp_path, "half a line\n", "\n", hit())
    assert "1 event imported" in said
    assert "1 refused: 1 not a line of an access log" in said


def test_what_is_before_the_damaged_part_of_a_log_counts(kept: Kept, tmp_path: Path) -> None:
    whole = gzip.compress("".join(hit(f"GET /{number} HTTP/1.1") for number in range(20)).encode())
    file = tmp_path / "access.log.1.gz"
    file.write_bytes(whole[:-4])
    ended = kept.run("import", "--hostname", "shop.example", str(file), check=False)
    assert (ended.returncode, "20 events imported" in ended.stdout) == (1, True)
    assert "access.log.1: Compressed file ended before" in ended.stderr


def test_the_log_is_left_to_whom_it_is_for(kept: Kept, tmp_path: Path) -> None:
    """A directory alone does not tell whether its log is for the embedded store or for another one."""
    outbox = SqliteOutbox(kept.path)
    try:
        outbox.append([Draft("event", "waiting", START.timestamp(), days(1, "bob")[0].encode())], {})
        log(kept, tmp_path, hit())
        assert outbox.stats().consumers["store"].pending == 1
    finally:
        outbox.close()


def test_an_import_beside_a_process_that_seals(kept: Kept, tmp_path: Path) -> None:
    """Whoever holds the store's lease goes on; both have every event once."""
    with kept.store() as store:
        store.apply(days(3))
        assert store.maintain()
        log(kept, tmp_path, hit(), hit())
        assert len(list(store.events())) == 5
        assert store.maintain()
        log(kept, tmp_path, hit(), hit(), hit())
        assert len(list(store.events())) == 6


pieces = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b'"', b"\\", b"\n", b"\0", b",", b"{", b"}", b"1e999", b"0000-01-01", b"9999-12-31", b"//[", b"%"]
    ),
)
beginnings = st.sampled_from(
    [
        b"",
        RICH.encode(),
        hit().encode(),
        UMAMI.encode(),
        PLAUSIBLE["imported_pages_20250301_20250302.csv"].encode(),
        b'"event_id","timestamp","type"\n"a","2025-03-01T00:00:00Z","custom"\n',
        b"PAR1",
        b"PK\x03\x04",
        gzip.compress(hit().encode()),
    ]
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    beginnings, st.lists(st.tuples(st.integers(0, 500), pieces), max_size=5), st.sampled_from([None, *formats.FORMATS])
)
def test_any_bytes_are_events_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, changes: list[tuple[int, bytes]], chosen: str | None
) -> None:
    """Nothing that is in a file raises anything but that it can't be read."""
    for place, piece in changes:
        content = content[:place] + piece + content[place:]
    file = tmp_path_factory.getbasetemp() / "imported_pages.bin"
    file.write_bytes(content)
    reading = formats.Reading(Enrichment(Settings()), hostname="shop.example", timezone="UTC")
    with suppress(FileError):
        for item in reading.items(file, chosen, lambda _: None):
            if isinstance(item, Event):
                assert Event.decode(item.encode()) == item
                assert item.client_ip is None
                assert 0 < len(item.event_id) <= 36


class Elsewhere(MemoryStore):
    """A store of somebody's own."""


def test_a_store_elsewhere_is_filled_and_read_back(kept: Kept, tmp_path: Path) -> None:
    """As ClickHouse is: the commands go to the store that the application has."""
    kept.apply([*days(3), Identify(user_id="ann", traits={"plan": "pro"}, timestamp=START)])
    (tmp_path / "out").mkdir()
    kept.run("export", "--csv", str(tmp_path / "out"))
    store = Elsewhere()
    analytics = Analytics(data_dir=tmp_path / "app", store=store, enabled=False)
    out = io.StringIO()
    with redirect_stdout(out):
        assert cli.main(["import", str(tmp_path / "out")], application=lambda: analytics) == 0
        assert cli.main(["import", str(tmp_path / "out")], application=lambda: analytics) == 0
        assert cli.main(["export", "--jsonl", str(tmp_path / "back.jsonl")], application=lambda: analytics) == 0
        assert cli.main(["sql", "SELECT 1"], application=lambda: analytics) == 1
    analytics.outbox.close()
    assert out.getvalue().startswith("3 events imported; those that the store knew count once.\n")
    assert list(store.events()) == kept.events()
    assert Insights(store).traits("ann") == {"plan": "pro"}
    assert [Event.decode(line) for line in (tmp_path / "back.jsonl").read_text().splitlines()] == kept.events()
