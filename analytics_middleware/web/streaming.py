"""Server-sent events: what has changed on a page, sent to everybody who is looking at it.

The format is https://html.spec.whatwg.org/multipage/server-sent-events.html. One thread of the process asks the
questions of all pages that are looked at, so an event loop is never held up and ten viewers cost as much as one. A
connection lasts a minute: the browser then makes the next one by itself, and whether it may is asked anew.
"""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, NamedTuple

import msgspec

from analytics_middleware.counters import Counters, logger
from analytics_middleware.web.http import Refusal
from analytics_middleware.web.stopping import Servers

CONTENT_TYPE: Final = "text/event-stream"
HEADERS: Final = (("content-type", CONTENT_TYPE), ("x-accel-buffering", "no"))
"""Of a stream. The last one keeps nginx from collecting it."""

_ALIVE: Final = b":\n\n"
_RETRY: Final = b"retry: 1000\n\n"
_LOOK: Final = 0.25
"""Seconds between looking whether the server or the process is about to end."""
_REST: Final = 4
"""The thread rests at least so many times as long as it worked."""

_to_json = msgspec.json.Encoder().encode


class Pace(NamedTuple):
    """Seconds."""

    interval: float = 1.0
    """Between asking what has changed."""
    life: float = 60.0
    """That a connection lasts."""
    alive: float = 15.0
    """Between comments that keep proxies from ending a connection on which nothing happens."""
    slow: float = 15.0
    """After which whoever does not read is let go."""


class State(NamedTuple):
    """What a page shows at one moment."""

    news: Any
    """What it is compared by with the moment before."""
    html: str


class _Listener:
    """One connection. Its loop's thread takes what the asking thread puts in: only the latest is kept."""

    def __init__(self, pace: Pace) -> None:
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self.news: Any = None
        self.until = time.monotonic() + pace.life
        self.waiting_since: float | None = None
        self._part: bytes | None = None
        self._arrived = asyncio.Event()

    def put(self, part: bytes, now: float) -> None:
        """Have *part* sent next."""
        if self.waiting_since is None:
            self.waiting_since = now
        self._part = part
        self.call(self._arrived.set)

    async def take(self) -> bytes | None:
        """Return what is to be sent next, None when there is nothing for a moment."""
        try:
            async with asyncio.timeout(_LOOK):
                await self._arrived.wait()
        except TimeoutError:
            return None
        self._arrived.clear()
        part, self._part, self.waiting_since = self._part, None, None
        return part

    def call(self, action: Callable[[], object]) -> None:
        """Have the loop do *action*, unless it has ended."""
        try:
            self.loop.call_soon_threadsafe(action)
        except RuntimeError:
            return


class Streams:
    """The pages that are looked at in this process, each by at most *limit* connections in all."""

    def __init__(
        self, counters: Counters, ended: Callable[[], bool], *, limit: int = 20, pace: Pace | None = None
    ) -> None:
        self._counters = counters
        self._ended = ended
        self._limit = limit
        self._pace = pace or Pace()
        self._lock = threading.Lock()
        self._pages: dict[Any, tuple[Callable[[], State], list[_Listener]]] = {}
        self._asking = False
        self._servers = Servers()

    def __len__(self) -> int:
        """How many connections are held."""
        with self._lock:
            return sum(len(listeners) for _, listeners in self._pages.values())

    def open(self, page: Any, render: Callable[[], State]) -> AsyncGenerator[bytes, None]:
        """Return a stream of what *render* returns whenever it has changed; equal *page* are one.

        Raises `Refusal` when as many are open as there may be.
        """
        if len(self) >= self._limit:
            self._counters.add("streams_refused")
            message = "as many live pages are looked at as this process holds connections for"
            raise Refusal(503, "streams", message, headers=[("retry-after", "5")])
        return self._stream(page, render)

    async def _stream(self, page: Any, render: Callable[[], State]) -> AsyncGenerator[bytes, None]:
        listener = _Listener(self._pace)
        self._join(page, render, listener)
        try:
            yield _RETRY
            spoke = time.monotonic()
            while not self._ended() and not self._servers.stopping(listener.loop):
                part, now = await listener.take(), time.monotonic()
                if now > listener.until:
                    return
                if part is not None or now - spoke > self._pace.alive:
                    spoke = now
                    yield part or _ALIVE
        finally:
            self._leave(page, listener)

    def _join(self, page: Any, render: Callable[[], State], listener: _Listener) -> None:
        with self._lock:
            self._pages.setdefault(page, (render, []))[1].append(listener)
            if self._asking:
                return
            self._asking = True
        threading.Thread(target=self._ask, name="analytics-live", daemon=True).start()

    def _leave(self, page: Any, listener: _Listener) -> None:
        with self._lock:
            listeners = self._pages[page][1]
            listeners.remove(listener)
            if not listeners:
                del self._pages[page]

    def _ask(self) -> None:
        """Ask for every page that is looked at, as long as there is one."""
        while True:
            began = time.monotonic()
            with self._lock:
                pages = [(render, list(listeners)) for render, listeners in self._pages.values()]
                if not pages or self._ended():
                    self._asking = False
                    return
            for render, listeners in pages:
                self._tell(render, listeners)
            # Not an event: a second more of a daemon thread delays nothing.
            time.sleep(max(self._pace.interval, _REST * (time.monotonic() - began)))

    def _tell(self, render: Callable[[], State], listeners: list[_Listener]) -> None:
        try:
            state = render()
        except Exception:  # noqa: BLE001 - whatever it is, its details are for the log, and the next time may do
            self._counters.log("streams", logger.error, "analytics: a live page failed", exc_info=True)
            return
        part = b"data: %s\n\n" % _to_json({"html": state.html})
        now = time.monotonic()
        for listener in listeners:
            if listener.news != state.news:
                listener.news = state.news
                listener.put(part, now)
            since = listener.until if listener.waiting_since is None else listener.waiting_since
            if now - since > self._pace.slow and listener.task is not None:
                # It waits for a reader who does not read.
                self._counters.add("streams_slow")
                listener.call(listener.task.cancel)
