"""The examples answer every question over REST, under servers with two workers, the same from either."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ports import own_port

from analytics_middleware.demo.load import Load
from analytics_middleware.demo.traffic import Traffic

ROOT = Path(__file__).parent.parent
TOKEN = "a token for these tests alone"
DEADLINE = 30.0
ASKED = 8
"""New connections for one question: with two workers, all to the same one is one chance in 128."""

SERVERS = {
    "Starlette on uvicorn": ["uvicorn", "--app-dir", "examples", "starlette_blog:app", "--workers", "2"],
    "FastAPI on uvicorn": ["uvicorn", "--app-dir", "examples", "fastapi_blog:app", "--workers", "2"],
    "Django on uvicorn": ["uvicorn", "examples.django_blog:asgi_application", "--workers", "2"],
    "Flask on gunicorn": ["gunicorn", "--chdir", "examples", "flask_blog:app", "--workers", "2", "--no-control-socket"],
    "Django on gunicorn": ["gunicorn", "examples.django_blog:application", "--workers", "2", "--no-control-socket"],
}
# One tour of the examples makes these; see tests/test_examples.py.
TOTAL = 18
QUESTIONS = [
    "volume?bucket=hour",
    "top",
    "top?event=search.submitted&property=query",
    "values?field=path",
    "overview",
    "active",
    "dashboard?days=2",
    "funnel?step=pageview&step=purchase&order=ordered",
    "retention?offset=0&offset=1",
    "retention-matrix?period=day",
    "paths?event=pageview&depth=2",
    "lifecycle?period=day",
    "stickiness?within=week",
    "sessions",
    "revenue?bucket=day",
    "users?of=active",
    "timeline?user_id=ann",
]


def get(port: int, path: str) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/analytics/{path}", headers={"Authorization": f"Bearer {TOKEN}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        with error:
            pytest.fail(f"{path}: {error.code} {error.read().decode()}")


@contextmanager
def running(command: list[str], directory: Path) -> Iterator[int]:
    port = own_port()
    program, *words = command
    bind = ["--bind", f"127.0.0.1:{port}"] if program == "gunicorn" else ["--port", str(port)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / program), *words, *bind],
        cwd=ROOT,
        env={**kept, "BLOG_DATA_DIR": str(directory), "BLOG_READ_TOKEN": TOKEN},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: listens(port))
        yield port
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def until(condition: Any) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize("name", SERVERS)
def test_every_question_has_the_same_answer_from_every_worker(name: str, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    window = f"from={(now - timedelta(days=2)).date()}&to={(now + timedelta(days=1)).date()}"
    with running(SERVERS[name], tmp_path / "data") as port:
        load = Load(port, iter([Traffic().grand_tour()]), rate=1000, workers=1)
        load.start()
        assert load.wait(DEADLINE)
        until(lambda: sum(point["count"] for point in get(port, f"volume?{window}&bots=true")) == TOTAL)
        for question in QUESTIONS:
            joint = "&" if "?" in question else "?"
            asked = question if question.startswith(("dashboard", "timeline")) else f"{question}{joint}{window}"
            answers = [get(port, asked) for _ in range(ASKED)]
            assert answers == [answers[0]] * ASKED, question
            assert answers[0], question
        assert get(port, f"revenue?{window}")[0]["total"] == 2999
        assert get(port, f"top?{window}&event=search.submitted&property=query") == [{"key": "hot", "count": 1}]
        assert [step["count"] for step in get(port, f"funnel?{window}&step=sign_in&step=purchase")] == [1, 1]
