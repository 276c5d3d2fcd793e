"""``demo``: runs a small blog on this machine, sends visitors to it, and shows their events and the dashboard."""

import argparse
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, redirect_stdout
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import chain
from typing import Any, TextIO, cast

from analytics_middleware.analytics import Analytics
from analytics_middleware.collectors.stdout import StdoutCollector
from analytics_middleware.commands.text import positive
from analytics_middleware.demo.blog import make_blog, with_dashboard
from analytics_middleware.demo.examples import FRAMEWORKS, Example, load_example
from analytics_middleware.demo.history import keep_examples, month
from analytics_middleware.demo.load import Load
from analytics_middleware.demo.servers import serve_asgi, serve_wsgi
from analytics_middleware.demo.traffic import Traffic
from analytics_middleware.store.memory import MemoryStore
from analytics_middleware.web.access import access_of
from analytics_middleware.web.saved import saved_of

NAME = "demo"
HELP = "Start a small blog with visitors, print their events as they come, and show its dashboard."

_ONCE_LIMIT = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--framework", choices=FRAMEWORKS, help="run the example on this framework (needs a checkout and the framework)"
    )
    parser.add_argument("--seconds", type=positive, help="end after so many seconds; default: at Ctrl-C")
    parser.add_argument(
        "--requests-per-second", type=positive, metavar="R", help="how busy the visitors are; default: 5"
    )
    parser.add_argument("--port", type=_port, default=0, help="port on 127.0.0.1; default: a free one")
    parser.add_argument("--once", action="store_true", help="one visitor, who sees everything once; then end")


def run(arguments: argparse.Namespace) -> int:
    """Run the demo until its time is up or somebody interrupts it."""
    terminal = _Terminal(sys.stdout)
    with redirect_stdout(cast("TextIO", terminal)):
        example = _own_blog() if arguments.framework is None else load_example(arguments.framework)
        store = example.analytics.store
        if not arguments.once and isinstance(store, MemoryStore):
            # The invented history goes into the store alone; only live events are printed and delivered. A directory
            # that the user named gets none.
            store.apply(list(month(datetime.now(UTC))))
            keep_examples(saved_of(example.analytics), datetime.now(UTC).date())
        try:
            return _show(arguments, example, terminal)
        finally:
            # Events in memory don't outlive the demo, so there is little to wait for.
            example.analytics.close(0.3)


def _own_blog() -> Example:
    analytics = Analytics(
        [StdoutCollector(pretty=True)],
        enabled=True,
        # The demo's visitors send their address in a header, as a proxy would.
        trusted_proxies=["127.0.0.1"],
        # The server listens on this machine only, and its events are invented.
        authorize=_anybody,
        authorize_changes=_anybody,
    )
    return Example(with_dashboard(make_blog(analytics), analytics), asgi=False, analytics=analytics)


def _anybody(_request: Any) -> bool:
    return True


def _show(arguments: argparse.Namespace, example: Example, terminal: "_Terminal") -> int:
    serve = serve_asgi if example.asgi else serve_wsgi
    traffic = Traffic()
    with serve(example.application, arguments.port) as port:
        ending = "" if arguments.once or arguments.seconds else "; Ctrl-C ends it"
        print(f"The demo is at http://127.0.0.1:{port}/ and you may visit it too{ending}.")
        history = "" if arguments.once else ", with a month of history,"
        print(f"Its dashboard{history} is at http://127.0.0.1:{port}{_way_in(example.analytics, port)}")
        print(flush=True)
        if arguments.once:
            # One worker, so that no step overtakes the one before, and as fast as the answers come.
            load = Load(port, iter([traffic.grand_tour()]), rate=arguments.requests_per_second or 100, workers=1)
        else:
            # Everything once at first, so that even a short run shows every kind of event.
            journeys = chain([traffic.grand_tour()], traffic.journeys())
            load = Load(port, journeys, rate=arguments.requests_per_second or 5)
        began = time.monotonic()
        with _interruptible():
            load.start()
            if arguments.once:
                load.wait(arguments.seconds or _ONCE_LIMIT)
            else:
                terminal.closed.wait(arguments.seconds)
        seconds = time.monotonic() - began
        load.stop()
    example.analytics.flush(0.5)
    if terminal.closed.is_set():
        raise BrokenPipeError
    print(_summary(seconds, load.answers, example.analytics.stats()), flush=True)
    return 1 if load.answers["failed"] else 0


def _way_in(analytics: Analytics, port: int) -> str:
    """Return the path of the dashboard, or of its login if the dashboard is closed."""
    pages = analytics.settings.dashboard_path
    # Django creates the dashboard, with the key that signs logins, at the first request for it.
    with closing(HTTPConnection("127.0.0.1", port, timeout=_ONCE_LIMIT)) as connection:
        connection.request("GET", f"{pages}/")
        connection.getresponse().read()
    access = access_of(analytics)
    return access.login_path(pages) if access.by_login else f"{pages}/"


@contextmanager
def _interruptible() -> Generator[None]:
    """Let Ctrl-C end the block only, so that the summary after it is still printed."""
    try:
        yield
    except KeyboardInterrupt:
        # The terminal has printed "^C"; go on below it.
        print()


def _summary(seconds: float, answers: Mapping[int | str, int], stats: Mapping[str, Any]) -> str:
    requests = sum(answers.values())
    by_status = ", ".join(
        f"{count} × {answer}" for answer, count in sorted(answers.items(), key=lambda each: str(each[0]))
    )
    lines = [
        "",
        f"{requests} requests in {seconds:.1f} s: {by_status or 'none'}",
        f"{stats['accepted']} events accepted{_dropped(stats['dropped'])}",
    ]
    for name, consumer in stats["collectors"].items():
        lines.append(
            f"{name}: {consumer['delivered']} delivered, {consumer['pending']} pending, "
            f"{consumer['dead']} dead{_dropped(consumer['dropped'])}"
        )
    return "\n".join(lines)


def _dropped(reasons: Mapping[str, int]) -> str:
    return "".join(f", {count} dropped ({reason})" for reason, count in reasons.items())


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


class _Terminal:
    """Standard output that notes when its reader has gone: the thread that prints events can't end the demo itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.closed = threading.Event()

    def __getattr__(self, name: str) -> Any:
        # Servers ask for isatty() and encoding, for example.
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write *text*, unless nobody reads."""
        if not self.closed.is_set():
            try:
                return self._stream.write(text)
            except BrokenPipeError:
                self.closed.set()
        return len(text)

    def flush(self) -> None:
        """Flush, unless nobody reads."""
        if not self.closed.is_set():
            try:
                self._stream.flush()
            except BrokenPipeError:
                self.closed.set()
