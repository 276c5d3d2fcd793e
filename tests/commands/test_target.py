"""How a command finds the application: named, by the environment, or through the framework's own command line."""

import json
import subprocess
import sys

import pytest

from .conftest import Shop

FLASK = """
from pathlib import Path
from flask import Flask
from analytics_middleware_flask import FlaskAnalytics

def create_app():
    app = Flask("shop")
    app.config["ANALYTICS"] = {"data_dir": Path(__file__).parent / "data", "store": None, "enabled": True}
    FlaskAnalytics(app)
    return app

app = create_app()
"""
STARLETTE = """
from pathlib import Path
from starlette.applications import Starlette
from starlette.middleware import Middleware
from analytics_middleware_starlette import AnalyticsMiddleware

settings = {"data_dir": Path(__file__).parent / "data", "store": None, "enabled": True}
app = Starlette(middleware=[Middleware(AnalyticsMiddleware, **settings)])
"""
DJANGO = """
import os, sys
from pathlib import Path

SECRET_KEY = "x"
INSTALLED_APPS = ["analytics_middleware_django"]
MIDDLEWARE = ["analytics_middleware_django.AnalyticsMiddleware"]
ROOT_URLCONF = __name__
urlpatterns = []
ANALYTICS = {"DATA_DIR": Path(__file__).parent / "data", "STORE": None, "ENABLED": True}
"""
MANAGE = """
import os, sys
from django.core.management import execute_from_command_line
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project")
execute_from_command_line(sys.argv)
"""


@pytest.fixture
def traffic(shop: Shop) -> Shop:
    shop.record("analytics.track('order')")
    (shop.path / "web.py").write_text(FLASK)
    (shop.path / "star.py").write_text(STARLETTE)
    (shop.path / "project.py").write_text(DJANGO)
    (shop.path / "manage.py").write_text(MANAGE)
    return shop


@pytest.mark.parametrize("started", [False, True], ids=["before the first event", "after it"])
@pytest.mark.parametrize(
    "command", ["worker --once", "import x.jsonl", "erase --user ann --yes", "replay --collector vendor --since 30d"]
)
def test_what_writes_files_is_refused_to_any_user_but_the_web_processes(
    stored: Shop, command: str, started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored.data.mkdir()
    (stored.path / "x.jsonl").write_text("{}")
    if started:
        stored.record("analytics.track('order')")
    owner = stored.data.stat().st_uid
    before = sorted(stored.data.rglob("*"))
    monkeypatch.chdir(stored.path)
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    ended = stored.run(*command.split(), check=False)
    assert ended.returncode == 1
    assert f"belongs to the user {owner}, this is {owner + 1}: run the command as" in ended.stderr
    assert sorted(stored.data.rglob("*")) == before


@pytest.mark.parametrize("app", ["shop:analytics", "web:app", "web:create_app", "star:app"])
def test_an_application_is_named_in_whatever_form_it_has(traffic: Shop, app: str) -> None:
    shown = traffic.python("-m", "analytics_middleware", "status", "--json", "--app", app).stdout
    assert json.loads(shown)["accepted"] == 1


@pytest.mark.parametrize(
    ("app", "complaint"),
    [
        ("shop", "is not of the form MODULE:ATTRIBUTE"),
        ("nothing:app", "there is no module 'nothing'"),
        ("shop:nothing", "'shop' has no attribute 'nothing'"),
        ("shop:HERE", "no analytics in"),
    ],
)
def test_what_is_no_application_is_an_error_in_one_line(traffic: Shop, app: str, complaint: str) -> None:
    ended = traffic.program("status", "--app", app, check=False)
    assert ended.returncode == 1
    assert complaint in ended.stderr
    assert ended.stderr.count("\n") == 1


def flask(shop: Shop, *words: str) -> "subprocess.CompletedProcess[str]":
    return shop.python("-m", "flask", "--app", "web", "analytics", *words, check=False)


def django(shop: Shop, *words: str) -> "subprocess.CompletedProcess[str]":
    return shop.python("manage.py", "analytics", *words, check=False)


@pytest.mark.parametrize("call", [flask, django])
def test_a_frameworks_command_line_has_the_same_commands(traffic: Shop, call: object) -> None:
    assert callable(call)
    status = call(traffic, "status", "--json")
    assert json.loads(status.stdout)["accepted"] == 1, status.stderr
    helped = call(traffic, "--help")
    assert helped.returncode == 0
    assert "dead-letters" in helped.stdout
    wrong = call(traffic, "nonsense")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith(("flask analytics: ", "manage.py analytics: "))
    assert call(traffic, "doctor").returncode == 0


def test_django_reads_its_own_options_wherever_they_stand(traffic: Shop) -> None:
    program = [sys.executable, "-m", "django", "analytics", "status", "--settings", "project", "--json"]
    shown = subprocess.run(
        program, cwd=traffic.path, env=traffic.environment(), capture_output=True, text=True, timeout=30, check=True
    )
    assert json.loads(shown.stdout)["accepted"] == 1


def test_call_command_runs_it_and_fails_as_it_does(traffic: Shop) -> None:
    program = (
        "import django; django.setup()\n"
        "from django.core.management import call_command\n"
        "call_command('analytics', 'dead-letters', 'list')\n"
        "call_command('analytics', 'collectors', 'test', 'x')\n"
    )
    ended = traffic.python("-c", program, check=False, DJANGO_SETTINGS_MODULE="project")
    assert (ended.returncode, ended.stdout) == (1, "No dead letters.\n")
    assert "there is no collector 'x'" in ended.stderr
