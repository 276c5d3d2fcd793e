"""Milliseconds until the overview page is complete, and its bytes, on generated events, through a real server.

    python tests/benchmarks/pages.py [--events 10000000] [--users 200000] [--days 90] [--rounds 5] [--directory D]

Each case is the time from sending the request to the last byte of the page, over HTTP on this machine. "new process"
is the first request of a server that has just begun to listen, its files in the system's cache. "no columns" is the
same after somebody has deleted the columns that a compaction puts on disk. "not asked before" is a range of days that
differs from all before it, in a server that has answered others. "again" is the same page once more. The page shows 30
days and is compared with the 30 days before; "all days" shows every event.
"""

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import questions

FILTER = quote('[{"field":"country","op":"eq","value":"GB"}]')


def serve(directory, port):
    """Serve the dashboard of *directory*, open to everybody."""
    import uvicorn

    from analytics_middleware import Analytics
    from analytics_middleware.web.asgi import ASGIRunner
    from analytics_middleware.web.dashboard import Dashboard

    # `background`: nothing is sealed meanwhile.
    analytics = Analytics(data_dir=directory, enabled=True, authorize=lambda request: True, background=False)
    uvicorn.run(ASGIRunner(Dashboard(analytics)), port=port, log_level="warning")


class Server:
    """A server in a process of its own."""

    def __init__(self, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, __file__, "--serve", str(self.port), "--directory", str(directory)]
        self.process = subprocess.Popen(command, env=dict(os.environ))
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.01)
        raise SystemExit("the server does not listen")

    def get(self, path):
        """Return the seconds that an answer took, and the answer."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        since = time.perf_counter()
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        taken = time.perf_counter() - since
        connection.close()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {body[:500]!r}")
        return taken, body

    def close(self):
        self.process.terminate()
        self.process.wait(10)


def page(arguments, days=30, back=0, where=""):
    """The address of the overview of *days* days that end *back* days before the last."""
    last = questions.BEGIN + timedelta(days=arguments.days - 1 - back)
    first = last - timedelta(days=days - 1)
    return f"/analytics/?from={first:%Y-%m-%d}&to={last:%Y-%m-%d}{where and '&where=' + where}"


def measure(arguments, directory):
    """Yield the name of each case and the seconds it took."""
    plain, filtered = page(arguments), page(arguments, where=FILTER)
    for name, path in (("new process", plain), ("new process, filtered", filtered), ("no columns", plain)):
        taken = []
        for _ in range(arguments.rounds):
            if name == "no columns":
                shutil.rmtree(directory / "columns", ignore_errors=True)
            server = Server(directory)
            taken.append(server.get(path)[0])
            time.sleep(2)  # what it puts on disk is written by a thread of its own
            server.close()
        yield name, taken
    server = Server(directory)
    try:
        server.get(plain)
        yield "not asked before", [server.get(page(arguments, back=back))[0] for back in range(1, arguments.rounds + 1)]
        server.get(filtered)
        taken = [server.get(page(arguments, back=back, where=FILTER))[0] for back in range(1, arguments.rounds + 1)]
        yield "not asked before, filtered", taken
        whole = (page(arguments, days=arguments.days - back) for back in range(arguments.rounds))
        yield "not asked before, all days", [server.get(path)[0] for path in whole]
        yield "again", [server.get(plain)[0] for _ in range(arguments.rounds)]
        yield "again, filtered", [server.get(filtered)[0] for _ in range(arguments.rounds)]
        body = server.get(plain)[1].decode()
        files = [server.get(path)[1] for path in re.findall(r'(?:href|src)="(/analytics/static/[^"]+)"', body)]
        print(f"bytes: page {len(body.encode()):,}, what it loads {sum(map(len, files)):,}")
    finally:
        server.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--directory", type=Path, help="keep the events here, or take them from here")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.directory, arguments.serve)
        return
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="pages-"))
    try:
        if not (directory / "segments").exists():
            questions.load_ours(arguments, directory)
        print(f"{arguments.events:,} events, milliseconds\n{'':<32}{'best':>9}{'median':>9}")
        for name, taken in measure(arguments, directory):
            print(f"{name:<32}{min(taken) * 1e3:9.0f}{statistics.median(taken) * 1e3:9.0f}", flush=True)
    finally:
        if arguments.directory is None:
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
