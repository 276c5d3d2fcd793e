"""``doctor``: what usually goes wrong is found, and what to do is said."""

import errno
import json
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware

from analytics_middleware import Analytics, Event, cli
from analytics_middleware.collectors import PlausibleCollector, StdoutCollector
from analytics_middleware.commands.doctor import _examine
from analytics_middleware.commands.target import of_application
from analytics_middleware.doctor import Finding
from analytics_middleware.doctor.files import examine_files
from analytics_middleware.doctor.uwsgi import examine_uwsgi, options_of_file
from analytics_middleware_flask import FlaskAnalytics
from analytics_middleware_starlette import AnalyticsMiddleware

from .conftest import Shop
from .stores import Kept


def found(application: Any) -> dict[str, list[Finding]]:
    by_subject: dict[str, list[Finding]] = {}
    for finding in _examine(of_application(application), None):
        by_subject.setdefault(finding.subject, []).append(finding)
    return by_subject


def test_a_sound_setup_ends_with_0_and_says_what_was_looked_at(shop: Shop) -> None:
    shop.record("analytics.track('order')")
    shown = shop.run("doctor").stdout
    for subject in ("durability", "collectors", "file system", "directory", "disk", "database", "clock", "proxies"):
        assert f"ok       {subject}:" in shown
    assert "SQLite" in shown


def test_a_problem_ends_with_1_and_with_what_to_do(shop: Shop) -> None:
    ini = shop.path / "uwsgi.ini"
    ini.write_text("[uwsgi]\nmaster = true\nprocesses = 4\nenable-threads = true\npy-call-osafterfork = true\n")
    ended = shop.run("doctor", "--uwsgi", str(ini), check=False)
    assert ended.returncode == 1
    assert "PROBLEM  uWSGI: py-call-osafterfork crashes" in ended.stdout
    assert "→ use py-call-uwsgi-fork-hooks = true instead" in ended.stdout
    findings = json.loads(shop.run("doctor", "--uwsgi", str(ini), "--json", check=False).stdout)
    assert {finding["level"] for finding in findings} == {"ok", "warning", "problem"}


@pytest.mark.parametrize(
    ("ini", "levels"),
    [
        ("enable-threads = true\nlazy-apps = true\ndie-on-term = true", []),
        ("threads = 4\npy-call-uwsgi-fork-hooks = 1\ndie-on-term", []),
        ("enable-threads = false\nlazy-apps = true\ndie-on-term = true", ["warning"]),
        ("enable-threads = true\ndie-on-term = true", ["warning"]),
        ("enable-threads = true\nlazy-apps = true\npy-call-osafterfork = true\ndie-on-term = true", ["problem"]),
        ("enable-threads = true\nlazy-apps = true", ["warning"]),
    ],
)
def test_the_flags_of_uwsgi_that_matter_are_known(tmp_path: Path, ini: str, levels: list[str]) -> None:
    (tmp_path / "uwsgi.ini").write_text(f"[uwsgi]\n{ini}\nhook = %(_)\n")
    findings = examine_uwsgi(options_of_file(tmp_path / "uwsgi.ini"))
    assert [finding.level for finding in findings if finding.level != "ok"] == levels


def test_a_file_that_is_no_uwsgi_file_is_an_error_in_one_line(shop: Shop) -> None:
    ended = shop.run("doctor", "--uwsgi", str(shop.path / "shop.py"), check=False)
    assert ended.returncode == 1
    assert "is not a uWSGI ini file" in ended.stderr


def test_a_directory_that_can_not_be_written_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    findings = {finding.subject: finding for finding in examine_files(tmp_path / "file" / "data", 1)}
    assert findings["directory"].level == "problem"


def test_a_disk_with_less_room_than_the_log_may_take_is_a_warning(tmp_path: Path) -> None:
    findings = {finding.subject: finding for finding in examine_files(tmp_path, 10**18)}
    assert findings["disk"].level == "warning"


def test_a_damaged_database_is_a_problem(shop: Shop) -> None:
    shop.record("analytics.track('order')")
    with (shop.data / "analytics.sqlite3").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    findings = [finding for finding in examine_files(shop.data, 1) if finding.level == "problem"]
    assert [finding.subject for finding in findings] == ["database"]


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (Path.unlink, "is missing"),
        (lambda file: file.write_bytes(b"x" * file.stat().st_size), "is damaged"),
        (lambda file: file.write_bytes(file.read_bytes()[:-100]), "is damaged"),
    ],
    ids=["gone", "overwritten", "cut"],
)
def test_a_file_of_the_store_that_can_not_be_read_is_a_problem(harm: Any, said: str, tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    kept.apply([Event(event_name="order") for _ in range(5)])
    with kept.store() as store:
        store.maintain()
    shown = kept.run("doctor").stdout
    assert "ok       store: all files are there: 1, with 5 events" in shown
    [file] = (tmp_path / "segments").glob("month-*.parquet")
    harm(file)
    ended = kept.run("doctor", check=False)
    assert ended.returncode == 1
    assert f"PROBLEM  store: {file.parent}: {file.name} {said}" in ended.stdout
    asked = kept.run("export", "--jsonl", str(tmp_path / "all.jsonl"), check=False)
    assert asked.returncode == 1
    assert asked.stderr.startswith("analytics-middleware: ")
    assert file.name in asked.stderr


def test_a_file_of_the_store_that_another_user_wrote_is_not_asked_back_from_a_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path)
    kept.apply([Event(event_name="order")])
    [file] = (tmp_path / "segments").glob("*.parquet")
    opened = Path.open

    def denied(path: Path, *arguments: Any, **keywords: Any) -> Any:
        if path == file:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *arguments, **keywords)

    # Root may read any file.
    monkeypatch.setattr(Path, "open", denied)
    ended = kept.run("doctor", check=False)
    assert ended.returncode == 1
    assert f"PROBLEM  store: {file} can't be read by the user {os.geteuid()}\n" in ended.stdout
    assert f"→ chown -R {tmp_path.stat().st_uid} {tmp_path}, and run commands as that user\n" in ended.stdout


@pytest.mark.parametrize("command", ["status", "tail", "export --jsonl all.jsonl"])
def test_a_damaged_database_ends_any_command_in_one_line(command: str, tmp_path: Path) -> None:
    (tmp_path / "analytics.sqlite3").write_bytes(b"this is no database" * 1000)
    out, err = StringIO(), StringIO()
    first, *more = command.split()
    with redirect_stdout(out), redirect_stderr(err):
        assert cli.main([first, "--data-dir", str(tmp_path), *more]) == 1
    assert err.getvalue() == (
        "analytics-middleware: the database can't be used: file is not a database (see analytics-middleware doctor)\n"
    )


def test_a_clock_behind_the_log_is_a_warning(shop: Shop) -> None:
    shop.mode("vendor", "down")
    shop.record(
        "from datetime import UTC, datetime, timedelta\nfrom analytics_middleware import Event\n"
        "analytics.track(Event(event_name='x', timestamp=datetime.now(UTC) + timedelta(hours=2)))",
        flush=0.5,
    )
    findings = {finding.subject: finding for finding in examine_files(shop.data, 1)}
    assert findings["clock"].level == "warning"


def test_events_in_memory_are_a_warning_and_with_several_workers_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WEB_CONCURRENCY", raising=False)
    assert found(Analytics())["durability"][0].level == "warning"
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert found(Analytics())["durability"][0].level == "problem"


def test_no_collector_and_no_store_is_a_warning() -> None:
    assert found(Analytics(store=None))["collectors"][0].level == "warning"


def test_a_store_whose_package_is_missing_is_a_warning_and_none_wanted_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "analytics_middleware.store.duckdb", None)
    missing = found(Analytics(data_dir=tmp_path))
    assert missing["store"][0].level == "warning"
    assert "analytics-middleware[insights]" in missing["store"][0].advice
    assert missing["collectors"][0].text.endswith("events go nowhere")
    assert "store" not in found(Analytics(data_dir=tmp_path, store=None))


def test_in_debug_collectors_that_only_log_are_named_and_those_told_to_send_are_not() -> None:
    """By the rule that delivery goes by."""
    collectors = [
        PlausibleCollector("shop.example", name="silent"),
        PlausibleCollector("shop.example", name="sends", debug_sends=True),
        StdoutCollector(),
    ]
    warnings = [each.text for each in found(Analytics(collectors, debug=True))["collectors"] if each.level == "warning"]
    assert warnings == ["debug is on: silent only log what they would send"]
    assert [each.level for each in found(Analytics(collectors[1:], debug=True))["collectors"]] == ["ok"]


def test_destinations_that_are_down_or_refuse_are_a_warning(shop: Shop) -> None:
    shop.mode("vendor", "down")
    shop.record("analytics.track('order')", flush=0.5)
    shown = shop.run("doctor").stdout
    assert "WARNING  delivery: vendor can't be delivered to, pending 1: DeliveryError: 503" in shown
    shop.mode("vendor", "refuse")
    shop.run("worker", "--once", check=False)
    assert "WARNING  delivery: vendor has refused for good: 1" in shop.run("doctor").stdout


def test_what_a_framework_puts_outside_of_its_own_accord_is_no_warning() -> None:
    class Outermost:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    class Framework(Starlette):
        def build_middleware_stack(self) -> Any:
            return Outermost(super().build_middleware_stack())

    ours = Middleware(AnalyticsMiddleware, analytics=Analytics())
    assert found(Framework(middleware=[ours]))["middleware"][0].level == "ok"
    [finding] = found(Framework(middleware=[Middleware(Outermost), ours]))["middleware"]
    assert finding.level == "warning"


def test_middleware_within_another_that_answers_is_a_warning() -> None:
    analytics = Analytics()
    ours, session = Middleware(AnalyticsMiddleware, analytics=analytics), Middleware(SessionMiddleware, secret_key="x")
    assert found(Starlette(middleware=[ours, session]))["middleware"][0].level == "ok"
    [finding] = found(Starlette(middleware=[session, ours]))["middleware"]
    assert finding.level == "warning"
    assert "SessionMiddleware" in finding.text
    twice = found(Starlette(middleware=[ours, session, ours]))["middleware"]
    assert [finding.level for finding in twice] == ["warning"]
    assert "2 times" in twice[0].text


def test_an_application_whose_middleware_was_lost_is_a_problem() -> None:
    app = Flask("shop")
    app.config["ANALYTICS"] = {}
    plain = app.wsgi_app
    FlaskAnalytics(app)
    assert found(app)["middleware"][0].level == "ok"
    app.wsgi_app = plain  # type: ignore[method-assign]
    assert found(app)["middleware"][0].level == "problem"


def test_a_proxy_that_nobody_trusts_is_noticed(tmp_path: Path) -> None:
    app = Flask("shop")
    app.config["ANALYTICS"] = {"data_dir": tmp_path, "enabled": True, "store": None}
    FlaskAnalytics(app)
    app.add_url_rule("/", view_func=lambda: "<p>")
    analytics: Analytics = app.extensions["analytics"]
    response = app.test_client().get("/", headers={"X-Forwarded-For": "203.0.113.7"})
    assert response.data
    response.close()
    assert analytics.flush(5)
    analytics.close()
    assert found(app)["proxies"][0].level == "warning"


def test_inside_uwsgi_its_own_options_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt={"lazy-apps": True, "processes": b"2"}))
    assert [finding.level for finding in found(Analytics())["uWSGI"]] == ["warning", "warning"]
