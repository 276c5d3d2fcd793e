"""What every app of the contract serves, written once, without a framework.

A stack turns each `Route` into a view of its own kind: its native routing, request and response, these bodies.
Streams, files, background work and views in threads are written in each stack, for they are what differs.
"""

import asyncio
import json
import os
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path

from analytics_middleware import (
    Money,
    add_property,
    set_action_name,
    set_event_name,
    set_revenue,
    set_user,
    track,
)

HTML = "text/html; charset=utf-8"
STATIC = Path(__file__).parent / "static"
DOWNLOAD = STATIC / "prices.txt"
DEADLINE = 20.0
"""Seconds after which anything that waits gives up: a test that hangs has failed."""

STREAM = (b"<!doctype html><p>one</p>", b"<p>two</p>", b"<p>three</p>")
ENDLESS_CHUNK = b"<p>" + b"x" * 65_530 + b"</p>"
ENDLESS_CHUNKS = 4000
"""More than any socket buffers: a client that stops reading blocks the server until it goes away."""
LONG_CHUNKS = 200
"""The same, but little enough to be read to the end."""


@dataclass(frozen=True)
class Ask:
    """A request as the pages see it."""

    method: str
    header: Callable[[str], str | None]
    query: Mapping[str, str]
    params: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """A response. Without a *content_type* the framework sends what it sends when nobody says."""

    body: bytes = b""
    status: int = 200
    content_type: str | None = HTML
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Ask], Answer]


@dataclass(frozen=True)
class Route:
    """A page: its path with ``{parameters}``, and the *group* (mount, blueprint, include) that it belongs to."""

    path: str
    handler: Handler
    methods: tuple[str, ...] = ("GET", "HEAD")
    group: str = ""

    @property
    def name(self) -> str:
        return self.handler.__name__


def html(text: str, status: int = 200, **headers: str) -> Answer:
    return Answer(f"<!doctype html><title>{text}</title>".encode(), status, headers=headers)


def data(value: object, status: int = 200) -> Answer:
    return Answer(json.dumps(value).encode(), status, "application/json")


def home(ask: Ask) -> Answer:
    return html("home")


def article(ask: Ask) -> Answer:
    return html(f"article {ask.params['slug']}")


def item(ask: Ask) -> Answer:
    return html(f"item {int(ask.params['id'])}")


def buy(ask: Ask) -> Answer:
    return Answer(status=303, headers={"Location": "/thanks"})


def tenant_order(ask: Ask) -> Answer:
    return html(f"order {ask.params['id']} of {ask.params['tenant']}")


def deep_page(ask: Ask) -> Answer:
    return html(f"page {ask.params['id']}")


def list_items(ask: Ask) -> Answer:
    return data(["apple", "pear"])


def create_order(ask: Ask) -> Answer:
    return data({"got": json.loads(ask.body)}, 201)


def change_order(ask: Ask) -> Answer:
    return Answer(status=204, content_type=None) if ask.method == "DELETE" else data({"id": ask.params["id"]})


def subscribe(ask: Ask) -> Answer:
    return Answer(ask.body, 303, headers={"Location": "/thanks"})


def upload(ask: Ask) -> Answer:
    return data({"bytes": len(ask.body), "crc": zlib.crc32(ask.body)})


def cached(ask: Ask) -> Answer:
    if ask.header("if-none-match") == '"v1"':
        return Answer(status=304, content_type=None, headers={"ETag": '"v1"'})
    return html("cached", ETag='"v1"')


def failing(ask: Ask) -> Answer:
    raise RuntimeError("on purpose")


def nothing(ask: Ask) -> Answer:
    return Answer(status=204, content_type=None)


def members(ask: Ask) -> Answer:
    return html("members only", 403)


def moved(ask: Ask) -> Answer:
    return Answer(b"<p>moved</p>", 301, headers={"Location": "/"})


def found(ask: Ask) -> Answer:
    return Answer(b"<p>found</p>", 302, headers={"Location": "/"})


def short_link(ask: Ask) -> Answer:
    set_action_name("link.followed")
    return Answer(status=302, headers={"Location": "/"})


def xhtml(ask: Ask) -> Answer:
    return Answer(b'<html xmlns="http://www.w3.org/1999/xhtml"/>', 200, "application/xhtml+xml")


def report(ask: Ask) -> Answer:
    return Answer(b"day,visits\n", 200, "text/csv; charset=utf-8")


def shouting(ask: Ask) -> Answer:
    return Answer(b"<P>LOUD</P>", 200, "Text/HTML;Charset=ISO-8859-1")


def broken_gateway(ask: Ask) -> Answer:
    return html("bad gateway", 502)


def search(ask: Ask) -> Answer:
    set_event_name("search.submitted")
    add_property("q", ask.query.get("q", ""))
    return html("results")


def poll(ask: Ask) -> Answer:
    set_action_name("poll.answered")
    return data({"answer": 42})


def both_names(ask: Ask) -> Answer:
    set_event_name("plan.compared")
    set_action_name("compare")
    return data({})


def purchase(ask: Ask) -> Answer:
    set_revenue("29.99", "GBP")
    add_property("plan", "annual")
    return Answer(status=303, headers={"Location": "/thanks"})


def refund(ask: Ask) -> Answer:
    set_revenue(Money.from_minor(2999, "GBP"))
    set_revenue(Money.from_minor(-1500, "JPY"))
    return data({})


def many_properties(ask: Ask) -> Answer:
    for number in range(65):
        add_property(f"key{number}", number)
    add_property("key0", "updated")
    return html("many")


def clumsy(ask: Ask) -> Answer:
    set_revenue("a lot", "GBP")
    set_event_name("")
    set_action_name(None)  # type: ignore[arg-type]
    track("")
    return html("clumsy")


def chosen_user(ask: Ask) -> Answer:
    set_user("user-9")
    return html("chosen user")


def checkout(ask: Ask) -> Answer:
    track("checkout.completed", {"plan": "annual"})
    return html("thanks")


def healthz(ask: Ask) -> Answer:
    return html("fine")


def whose_worker(ask: Ask) -> Answer:
    """Tell the caller which process answered, and the event which call this was."""
    add_property("n", int(ask.query["n"]))
    return data({"pid": os.getpid()})


ROUTES = (
    Route("/", home),
    Route("/blog/{slug}", article),
    Route("/shop/items/{id}", item, group="/shop"),
    Route("/shop/items/{id}/buy", buy, ("POST",), group="/shop"),
    Route("/t/{tenant}/orders/{id}", tenant_order, group="/t/{tenant}"),
    Route("/deep/er/pages/{id}", deep_page, group="/deep/er"),
    Route("/api/items", list_items),
    Route("/api/orders", create_order, ("POST",)),
    Route("/api/orders/{id}", change_order, ("PUT", "PATCH", "DELETE")),
    Route("/subscribe", subscribe, ("POST",)),
    Route("/upload", upload, ("POST",)),
    Route("/cached", cached),
    Route("/failing", failing, ("GET", "HEAD", "POST")),
    Route("/nothing", nothing),
    Route("/members", members),
    Route("/moved", moved),
    Route("/found", found),
    Route("/go/{id}", short_link),
    Route("/xhtml", xhtml),
    Route("/report.csv", report),
    Route("/shouting", shouting),
    Route("/gateway", broken_gateway),
    Route("/search", search),
    Route("/api/poll", poll),
    Route("/api/both", both_names),
    Route("/purchase", purchase, ("POST",)),
    Route("/refund", refund, ("POST",)),
    Route("/many", many_properties),
    Route("/clumsy", clumsy),
    Route("/chosen-user", chosen_user),
    Route("/checkout", checkout),
    Route("/healthz", healthz),
    Route("/api/worker", whose_worker, ("POST",)),
)
# Each stack adds, in its own way: /account, /stream, /endless, /long, /download, /background,
# /static/app.css, /helpers/{mode}.


class Probe:
    """What a test reaches inside the views of a stack in its own process."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.meeting: threading.Barrier | None = None
        self.async_meeting: asyncio.Barrier | None = None
        self.in_background: Callable[[], None] = lambda: None
        self.response_over = threading.Event()
        self.background_done = threading.Event()
        self.threads: list[threading.Thread] = []


probe = Probe()


def before_meeting(n: int) -> None:
    add_property("n", n)
    set_revenue(n, "GBP")


def after_meeting(n: int) -> None:
    add_property("again", n)
    set_event_name(f"named.{n}")
    track(f"tracked.{n}", {"n": n})


def meet() -> None:
    """Wait until as many requests are in flight as the test wants."""
    if probe.meeting is not None:
        probe.meeting.wait(DEADLINE)


async def meet_async() -> None:
    if probe.async_meeting is not None:
        await asyncio.wait_for(probe.async_meeting.wait(), DEADLINE)
    else:
        # Under WSGI an async view has an event loop to itself.
        meet()


def shape(n: int) -> bytes:
    """What a view with helpers does, from wherever it runs."""
    before_meeting(n)
    meet()
    after_meeting(n)
    return f"<p>{n}</p>".encode()


async def shape_async(n: int) -> bytes:
    before_meeting(n)
    await meet_async()
    after_meeting(n)
    return f"<p>{n}</p>".encode()


def shape_streaming(n: int) -> Iterator[bytes]:
    before_meeting(n)
    yield b"<p>"
    meet()
    after_meeting(n)
    yield b"</p>"


async def shape_streaming_async(n: int) -> AsyncIterator[bytes]:
    before_meeting(n)
    yield b"<p>"
    await meet_async()
    after_meeting(n)
    yield b"</p>"


def shape_in_thread(n: int) -> bytes:
    """The same from a thread of the application's own, given a copy of the context as asyncio and asgiref give."""
    answer: list[bytes] = []
    context = copy_context()
    thread = threading.Thread(target=lambda: answer.append(context.run(shape, n)))
    thread.start()
    thread.join(DEADLINE)
    return answer[0]


def stream() -> Iterator[bytes]:
    yield from STREAM


async def stream_async() -> AsyncIterator[bytes]:
    for chunk in STREAM:
        yield chunk


def endless(chunks: int = ENDLESS_CHUNKS) -> Iterator[bytes]:
    for _ in range(chunks):
        yield ENDLESS_CHUNK


async def endless_async(chunks: int = ENDLESS_CHUNKS) -> AsyncIterator[bytes]:
    for _ in range(chunks):
        yield ENDLESS_CHUNK
        # As one that waits for its data would: else nothing can hear that the client has gone.
        await asyncio.sleep(0)


def background_work() -> None:
    """What a background task does once the response is over: one new event, and two edits that come too late."""
    probe.in_background()
    track("email.sent", {"kind": "welcome"})
    add_property("late", True)
    set_event_name("too.late")
    probe.background_done.set()


def background_thread() -> None:
    """Do the background work in a thread that has a copy of the request's context, when the response is over."""
    context = copy_context()

    def run() -> None:
        if probe.response_over.wait(DEADLINE):
            context.run(background_work)

    thread = threading.Thread(target=run, name=f"background-{time.monotonic_ns()}", daemon=True)
    probe.threads.append(thread)
    thread.start()
