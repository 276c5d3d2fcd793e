"""The example applications, run for real with the commands that their README gives."""

import os
import queue
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ports import own_port

from analytics_middleware.demo.load import Load
from analytics_middleware.demo.traffic import Traffic

ROOT = Path(__file__).parent.parent
README = ROOT / "examples" / "README.md"
COMMANDS = re.findall(r"^    ((?:uvicorn|flask|python|gunicorn) .*)$", README.read_text("utf-8"), re.MULTILINE)
EVENT = re.compile(r"\d\d:\d\d:\d\d (?:pageview|action|custom) ")
DEADLINE = 20.0

# What each request of the tour must show: fragments of one line. {slug} is the framework's own placeholder.
EXPECTED = [
    ("pageview", "GET / ", "200"),
    ("pageview", "GET /posts/first-flush", "(/posts/{slug})", "200", "category='green'"),
    ("custom", "search.submitted", "GET /search", "200", "query='hot'", "results=1"),
    ("pageview", "GET /archive", "200", "posts=3"),
    ("pageview", "GET /quote", "200"),
    ("pageview", "GET /newsletter", "200"),
    ("custom", "newsletter.joined", "list='weekly'"),
    ("action", "subscribe", "POST /subscribe", "200"),
    ("pageview", "GET /login", "200"),
    ("action", "sign_in", "POST /sign-in", "303", "user=ann"),
    ("pageview", "GET / ", "200", "user=ann"),
    ("pageview", "GET /checkout", "200", "user=ann"),
    ("action", "purchase", "POST /purchase", "303", "user=ann", "GBP 29.99", "plan='yearly'"),
    ("pageview", "GET /thanks", "200", "user=ann"),
    ("action", "sign_out", "POST /sign-out", "303"),
    ("pageview", "GET /posts/no-such-post", "(/posts/{slug})", "404"),
    ("pageview", "GET /broken", "500"),
]
# Beside these, the home page once more after signing out.
EVENTS = len(EXPECTED) + 1


def environment(**more: str) -> dict[str, str]:
    """This process's, without what says that tests are running, for then analytics is off."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return {**kept, "PYTHONUNBUFFERED": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}", **more}


def on_port(command: str, port: int) -> list[str]:
    words = command.split()
    if words[0] == "gunicorn":
        return [*words, "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
    if words[0] == "python":
        return [sys.executable, *words[1:], "--noreload", str(port)]
    return [*words, "--port", str(port)]


class Server:
    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.port = port
        self.process = process
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def events(self, count: int) -> list[str]:
        """The next *count* events that it prints."""
        events: list[str] = []
        seen: list[str] = []
        deadline = time.monotonic() + DEADLINE
        while len(events) < count:
            try:
                line = self._lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                pytest.fail(f"{len(events)} of {count} events within {DEADLINE} s:\n" + "\n".join(seen))
            if line is None:
                pytest.fail("the server ended:\n" + "\n".join(seen))
            seen.append(line)
            if EVENT.match(line):
                events.append(line)
        return events

    def more_events(self) -> list[str]:
        """What it prints until its end, which must be near."""
        return [line for line in iter(lambda: self._lines.get(timeout=DEADLINE), None) if EVENT.match(line)]


@contextmanager
def running(command: str, **more: str) -> Iterator[Server]:
    port = own_port()
    with subprocess.Popen(
        on_port(command, port),
        cwd=ROOT,
        env=environment(**more),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        server = Server(process, port)
        try:
            wait_until_it_listens(process, port)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_until_it_listens(process: "subprocess.Popen[str]", port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


def send_tour(port: int) -> None:
    load = Load(port, iter([Traffic().grand_tour()]), rate=1000, workers=1)
    load.start()
    assert load.wait(DEADLINE)
    assert dict(load.answers) == {200: 12, 303: 3, 404: 1, 500: 1}


def test_the_readme_has_commands_for_every_example() -> None:
    named = {match for command in COMMANDS for match in re.findall(r"\w+_blog", command)}
    assert named == {path.stem for path in (ROOT / "examples").glob("*_blog.py")}


@pytest.mark.parametrize("command", COMMANDS)
def test_started_as_the_readme_says_each_route_prints_its_event(command: str) -> None:
    placeholder = "<slug:slug>" if "django" in command else "<slug>" if "flask" in command else "{slug}"
    with running(command) as server:
        send_tour(server.port)
        lines = server.events(EVENTS)
        left = list(lines)
        for fragments in sorted(EXPECTED, key=len, reverse=True):
            wanted = [fragment.replace("{slug}", placeholder) for fragment in fragments]
            found = next((line for line in left if all(fragment in line for fragment in wanted)), None)
            assert found is not None, f"no event with {wanted} in:\n" + "\n".join(lines)
            left.remove(found)
        server.process.terminate()
        assert server.more_events() == []


def test_the_data_directory_is_taken_from_the_environment(tmp_path: Path) -> None:
    command = next(command for command in COMMANDS if "flask" in command)
    with running(command, BLOG_DATA_DIR=str(tmp_path / "data")) as server:
        send_tour(server.port)
        server.events(EVENTS)


def test_all_examples_share_their_pages_and_their_look() -> None:
    """Whoever compares two frameworks finds only the framework different."""
    shared = set()
    for example in (ROOT / "examples").glob("*_blog.py"):
        source = example.read_text("utf-8")
        shared.add(
            source[source.index("PLANS = ") : source.index("\n\n\ndef html(")].partition("\n\n\ndef see_other")[0]
        )
    assert len(shared) == 1
