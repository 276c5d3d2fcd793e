"""What durability costs: events a second into the log, processor time a request, throughput of a server, memory.

    python tests/benchmarks/durability.py [outbox] [overhead] [server] [memory] [--seconds 5]

"outbox": groups of 500 and of 10 from one process and from four; processor time by thread and wall time.
"overhead": microseconds added to a request under saturation with the log on disk, all threads (see overhead.py).
"server": uvicorn and Starlette without the middleware, with it, and with it while a worker records (background=False),
under wrk, or an own load generator where that is missing; the runs take turns, each with new processes.
"memory": the size of a process that takes requests while all collectors are dead.
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
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
CONNECTIONS = 64
"""So many that the server never waits for the load, which shares the other processors with the worker."""
ROUNDS = 7
REQUEST = (
    b"GET /blog/a-lamp?utm_source=letter HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36\r\n"
    b"\r\n"
)


def _environment(**more: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "PYTEST_VERSION"}, **more}


# Into the log.


def _event() -> bytes:
    from analytics_middleware import Event

    return Event(
        event_name="search.submitted",
        url="https://shop.example/blog/a-lamp?utm_source=letter",
        path="/blog/a-lamp",
        hostname="shop.example",
        matched_pattern="/blog/{slug}",
        method="GET",
        anon_id="cl_0123456789abcdefghij",
        user_agent=REQUEST.split(b"User-Agent: ")[1].split(b"\r\n")[0].decode(),
        referrer="https://www.example.org/search",
        locale="en",
        status_code=200,
        duration=0.0012,
    ).encode()


def write(directory: str, group: int, count: int) -> None:
    """Write *count* events in groups when told to; print processor and wall seconds. A process of its own."""
    from analytics_middleware.outbox.base import Draft
    from analytics_middleware.outbox.sqlite import SqliteOutbox

    outbox = SqliteOutbox(Path(directory), max_pending=10**7)
    payload = _event()
    drafts = [Draft("event", f"0190a7c1-{number:04}-7000-8000-000000000000", 1.7e9, payload) for number in range(group)]
    outbox.append(drafts, {})
    print("ready", flush=True)
    sys.stdin.readline()
    began, worked = time.perf_counter(), time.thread_time()
    for _ in range(count // group):
        outbox.append(drafts, {})
    print(time.thread_time() - worked, time.perf_counter() - began, flush=True)
    sys.stdin.readline()
    outbox.close()


def measure_outbox() -> None:
    print(f"\nevents of {len(_event())} bytes into the log")
    print(f"{'processes':>10}{'group':>8}{'events/s':>12}{'cpu us/event':>15}{'wall us/event':>15}")
    for processes in (1, 4):
        for group, count in ((500, 40_000), (10, 2_000)):
            with tempfile.TemporaryDirectory() as directory:
                from analytics_middleware.outbox.sqlite import SqliteOutbox

                # Someone must want them, or they would be deleted as they come.
                waiting = SqliteOutbox(Path(directory), max_pending=10**7)
                waiting.register("dead")
                waiting.close()
                children = [_child("--write", directory, str(group), str(count // processes)) for _ in range(processes)]
                results = _run_together(children)
            cpu = sum(cpu for cpu, _ in results) / count
            wall = max(wall for _, wall in results)
            print(f"{processes:>10}{group:>8}{count / wall:>12,.0f}{cpu * 1e6:>15.2f}{wall / count * 1e6:>15.2f}")
    _measure_delivery()


def _child(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, __file__, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _run_together(children: list["subprocess.Popen[str]"]) -> list[tuple[float, float]]:
    for child in children:
        if child.stdout.readline().strip() != "ready":
            sys.exit("a process did not start")
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    results = [tuple(map(float, child.stdout.readline().split())) for child in children]
    for child in children:
        child.stdin.close()
        child.wait(60)
    return results


def _measure_delivery() -> None:
    from analytics_middleware import Event
    from analytics_middleware.outbox.base import Draft, Settlement
    from analytics_middleware.outbox.sqlite import SqliteOutbox

    count = 20_000
    payload = _event()
    print(f"\n{'batch':>10}{'cpu us/event to read, decode and settle':>45}")
    for batch in (100, 500):
        with tempfile.TemporaryDirectory() as directory:
            outbox = SqliteOutbox(Path(directory), max_pending=10**7)
            epoch = outbox.claim("a")
            for _ in range(count // 500):
                outbox.append([Draft("event", "id", 1.7e9, payload)] * 500, {})
            worked = time.thread_time()
            while entries := outbox.read("a", batch, 10**7):
                for entry in entries:
                    Event.decode(entry.payload)
                outbox.settle("a", epoch, Settlement(cursor=entries[-1].seq, delivered=len(entries), breaker="closed"))
            print(f"{batch:>10}{(time.thread_time() - worked) / count * 1e6:>45.2f}")
            outbox.close()


# A server.


def application(data_dir: str | None):
    """Return a Starlette application with one page, with the middleware where *data_dir* says so."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    async def page(request):
        return HTMLResponse("<h1>A lamp</h1>")

    middleware = []
    if data_dir:
        from analytics_middleware import Analytics
        from analytics_middleware.collectors import BatchCollector
        from analytics_middleware_starlette import AnalyticsMiddleware

        class Drop(BatchCollector):
            name = "drop"
            third_party = False

            def send(self, events):
                pass

        background = os.environ.get("DURABILITY_WORKER") is None
        analytics = Analytics(
            [Drop()], data_dir=data_dir, enabled=True, queue_size=100_000, store=None, background=background
        )
        middleware = [Middleware(AnalyticsMiddleware, analytics=analytics)]
    return Starlette(routes=[Route("/blog/{slug}", page)], middleware=middleware)


def served():
    """What uvicorn imports."""
    return application(os.environ.get("DURABILITY_DATA"))


class Served:
    """uvicorn in a process of its own, and the worker that records for it, if it has one."""

    def __init__(self, data_dir: str | None, *, worker: bool = False) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        environment = _environment(PYTHONPATH=os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))
        environment.pop("DURABILITY_DATA", None)
        if data_dir:
            environment["DURABILITY_DATA"] = data_dir
        if worker:
            environment["DURABILITY_WORKER"] = "yes"
            self._start(environment, "analytics_middleware", "worker", "--app", "durability:served")
            _wait(Path(data_dir or "", "worker.sock").exists, "the worker")
        self._process = self._start(
            environment,
            *("uvicorn", "--factory", "durability:served", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--log-level", "warning", "--no-access-log"),
        )
        _wait(self._answers, "uvicorn")

    def _start(self, environment: dict[str, str], *command: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-m", *command], env=environment, stderr=subprocess.DEVNULL)
        self._processes = [*getattr(self, "_processes", []), process]
        return process

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def worked(self) -> float:
        """Seconds of processor time so far, of all threads."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(30)


def _wait(ready: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        if time.monotonic() > deadline:
            sys.exit(f"{name} did not start")
        time.sleep(0.05)


def _requests_per_second(port: int, seconds: float) -> float:
    if shutil.which("wrk"):
        headers = [line.decode() for line in REQUEST.split(b"\r\n")[1:] if line]
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", *(f"-H{header}" for header in headers)]
        url = f"http://127.0.0.1:{port}{REQUEST.split(b' ')[1].decode()}"
        output = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in output:
            sys.exit(output)
        return float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])
    return _own_load(port, seconds)


def _own_load(port: int, seconds: float) -> float:
    answered = [0] * CONNECTIONS
    stop = threading.Event()

    def ask(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            while not stop.is_set():
                connection.sendall(REQUEST)
                answer = b""
                while not answer.endswith(b"</h1>"):
                    answer += connection.recv(4096)
                answered[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CONNECTIONS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    stop.wait(seconds)
    stop.set()
    for thread in threads:
        thread.join(20)
    return sum(answered) / (time.perf_counter() - began)


def measure_server(seconds: float) -> None:
    rounds: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        # How a process's memory happens to lie is worth 5 %, for as long as it lives: each round has new ones.
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            plain, recorded = Served(None), Served(str(Path(one, "data")))
            relayed = Served(str(Path(other, "data")), worker=True)
            try:
                for server in (plain, recorded, relayed):
                    _requests_per_second(server.port, 2)
                rounds.append((*_round(plain, seconds), *_round(recorded, seconds), *_round(relayed, seconds)))
            finally:
                for server in (plain, recorded, relayed):
                    server.end()
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    tool = "wrk" if shutil.which("wrk") else "own load"
    print(f"\nuvicorn + Starlette, {CONNECTIONS} connections, {tool}, median of {ROUNDS} rounds of {seconds:g} s")
    without, cpu_without = medians[:2]
    print(f"without: {without:,.0f} requests/s, {cpu_without:.0f} us of processor time each")
    for name, rate, cpu in (("with", *medians[2:4]), ("with a worker that records", *medians[4:])):
        print(
            f"{name}: {rate:,.0f} requests/s: {(1 - rate / without) * 100:.1f} % less; "
            f"{cpu:.0f} us in the server's process: {(cpu / cpu_without - 1) * 100:.1f} % more"
        )


def _round(server: Served, seconds: float) -> tuple[float, float]:
    """Return requests a second, and microseconds of processor time a request."""
    worked = server.worked()
    rate = _requests_per_second(server.port, seconds)
    return rate, (server.worked() - worked) / (rate * seconds) * 1e6


# Memory.


def grow(directory: str, requests: int) -> None:
    """Serve *requests* while all collectors are dead; print the process's size now and then."""
    import asyncio

    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    from analytics_middleware import Analytics
    from analytics_middleware.collectors import BatchCollector
    from analytics_middleware_starlette import AnalyticsMiddleware

    class Dead(BatchCollector):
        third_party = False

        def send(self, events):
            raise OSError("dead")

    async def page(request):
        return HTMLResponse("<h1>A lamp</h1>")

    collectors = [Dead() for _ in range(3)]
    for number, collector in enumerate(collectors):
        collector.name = f"dead{number}"
    analytics = Analytics(collectors, data_dir=directory, enabled=True, max_pending=20_000, store=None)
    routes = [Route("/blog/{slug}", page)]
    app = Starlette(routes=routes, middleware=[Middleware(AnalyticsMiddleware, analytics=analytics)])
    headers = [
        tuple(line.lower().encode() for line in each.decode().split(": ", 1)) for each in REQUEST.split(b"\r\n")[1:4]
    ]

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    async def serve(count: int, start: int) -> None:
        for number in range(start, start + count):
            scope = {
                "type": "http",
                "asgi": {"version": "3.0"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": f"/blog/{number % 5000}",
                "query_string": b"",
                "root_path": "",
                "headers": headers,
                "client": (f"203.0.{number // 250 % 250}.{number % 250}", 5000),
                "server": ("127.0.0.1", 80),
            }
            await app(scope, receive, send)

    loop = asyncio.new_event_loop()
    served = 0
    for _ in range(20):
        for _ in range(10):
            loop.run_until_complete(serve(requests // 200, served))
            served += requests // 200
            # The writer keeps up: what is measured is not a queue that fills.
            analytics._engine._writer.drain(30)
        size = int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
        disk = sum(path.stat().st_size for path in Path(directory).iterdir()) / 2**20
        print(served, f"{size:.1f}", f"{disk:.1f}", flush=True)
    stats = analytics.stats()
    pending = {name: each["pending"] for name, each in stats["collectors"].items()}
    balanced = all(
        each["accepted"] == each["delivered"] + sum(each["dropped"].values()) + each["dead"] + each["pending"]
        for each in stats["collectors"].values()
    )
    print(f"accepted {stats['accepted']:,}, pending {pending}, accounting exact: {balanced}", flush=True)
    os._exit(0)


def measure_memory(requests: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        child = _child("--grow", str(Path(directory, "data")), str(requests))
        *lines, last = child.communicate(timeout=600)[0].splitlines()
    points = [tuple(map(float, line.split())) for line in lines]
    print("\nrequests while all collectors are dead (20,000 events kept for each)")
    print(f"{'requests':>10}{'memory MB':>12}{'disk MB':>10}")
    for quarter in (1, 5, 10, 15, 20):
        served, size, disk = points[quarter - 1]
        print(f"{served:>10,.0f}{size:>12.1f}{disk:>10.1f}")
    print(f"{last}; memory in the last half: {(points[-1][1] / points[9][1] - 1) * 100:+.1f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["outbox", "overhead", "server", "memory"])
    parser.add_argument("--seconds", type=int, default=5, help="of each round of load on a server")
    parser.add_argument("--requests", type=int, default=200_000, help="of the run that measures memory")
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--grow", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write(arguments.write[0], int(arguments.write[1]), int(arguments.write[2]))
    elif arguments.grow:
        grow(arguments.grow[0], int(arguments.grow[1]))
    else:
        if "outbox" in arguments.what:
            measure_outbox()
        if "overhead" in arguments.what:
            subprocess.run(
                [sys.executable, str(HERE / "overhead.py"), "--stack", "asgi", "--durable", "--rounds", "5"], check=True
            )
        if "server" in arguments.what:
            measure_server(arguments.seconds)
        if "memory" in arguments.what:
            measure_memory(arguments.requests)
