"""Server-sent events: what has changed on a page, sent to everybody who has it open.

The format is https://html.spec.whatwg.org/multipage/server-sent-events.html. One thread of the process asks the
questions of all open pages, so no event loop is held up and ten viewers cost as much as one. A connection lasts a
minute. The browser then opens the next one by itself, and its rights are checked again.
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
"""The headers of a stream. The last one keeps nginx from buffering it."""

_ALIVE: Final = b":\n\n"
_RETRY: Final = b"retry: 1000\n\n"
_LOOK: Final = 0.25
"""Seconds between checks whether the server or the process is about to end."""
_REST: Final = 4
"""The thread rests at least this many times as long as it worked."""

_to_json = msgspec.json.Encoder().encode


class Timing(NamedTuple):
    """How often things happen and how long they last, in seconds."""

    interval: float = 1.0
    """Between checks for changes."""
    life: float = 60.0
    """The life of a connection."""
    alive: float = 15.0
    """Between comments on an idle connection, which keep proxies from closing it."""
    slow: float = 15.0
    """After which a client that does not read is disconnected."""


class Snapshot(NamedTuple):
    """What a page shows at one moment."""

    news: Any
    """What is compared with the snapshot before; only a difference is sent."""
    html: str


class _Listener:
    """One connection. The asking thread puts parts in, the loop's thread takes them out; only the latest is kept."""

    def __init__(self, timing: Timing) -> None:
        self.loop = asyncio.get_running_loop()
        self.task = asyncio.current_task()
        self.news: Any = None
        self.until = time.monotonic() + timing.life
        self.waiting_since: float | None = None
        self._part: bytes | None = None
        self._arrived = asyncio.Event()

    def put(self, part: bytes, now: float) -> None:
        """Send *part* next, instead of one that still waits."""
        if self.waiting_since is None:
            self.waiting_since = now
        self._part = part
        self.call(self._arrived.set)

    async def take(self) -> bytes | None:
        """Return what to send next, or None if nothing comes for a moment."""
        try:
            async with asyncio.timeout(_LOOK):
                await self._arrived.wait()
        except TimeoutError:
            return None
        self._arrived.clear()
        part, self._part, self.waiting_since = self._part, None, None
        return part

    def call(self, action: Callable[[], object]) -> None:
        """Call *action* on the loop, unless that has ended."""
        try:
            self.loop.call_soon_threadsafe(action)
        except RuntimeError:
            return


class Streams:
    """The live pages that are open in this process, with at most *limit* connections in all."""

    def __init__(
        self, counters: Counters, ended: Callable[[], bool], *, limit: int = 20, timing: Timing | None = None
    ) -> None:
        self._counters = counters
        self._ended = ended
        self._limit = limit
        self._timing = timing or Timing()
        self._lock = threading.Lock()
        self._pages: dict[Any, tuple[Callable[[], Snapshot], list[_Listener]]] = {}
        self._asking = False
        self._servers = Servers()

    def __len__(self) -> int:
        """How many connections are open."""
        with self._lock:
            return sum(len(listeners) for _, listeners in self._pages.values())

    def open(self, page: Any, render: Callable[[], Snapshot]) -> AsyncGenerator[bytes, None]:
        """Return a stream of what *render* returns, whenever that changes. Equal values of *page* share one *render*.

        Raises `Refusal` when *limit* connections are open.
        """
        if len(self) >= self._limit:
            self._counters.add("streams_refused")
            message = "this process has no connection left for another live page"
            raise Refusal(503, "streams", message, headers=[("retry-after", "5")])
        return self._stream(page, render)

    async def _stream(self, page: Any, render: Callable[[], Snapshot]) -> AsyncGenerator[bytes, None]:
        listener = _Listener(self._timing)
        self._join(page, render, listener)
        try:
            yield _RETRY
            spoke = time.monotonic()
            while not self._ended() and not self._servers.stopping(listener.loop):
                part, now = await listener.take(), time.monotonic()
                if now > listener.until:
                    return
                if part is not None or now - spoke > self._timing.alive:
                    spoke = now
                    yield part or _ALIVE
        finally:
            self._leave(page, listener)

    def _join(self, page: Any, render: Callable[[], Snapshot], listener: _Listener) -> None:
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
        """Render every open page again and again, as long as there is one."""
        while True:
            began = time.monotonic()
            with self._lock:
                pages = [(render, list(listeners)) for render, listeners in self._pages.values()]
                if not pages or self._ended():
                    self._asking = False
                    return
            for render, listeners in pages:
                self._tell(render, listeners)
            # No event is needed to end this: a daemon thread that sleeps a second longer delays nothing.
            time.sleep(max(self._timing.interval, _REST * (time.monotonic() - began)))

    def _tell(self, render: Callable[[], Snapshot], listeners: list[_Listener]) -> None:
        try:
            snapshot = render()
        except Exception:  # noqa: BLE001 - the details are for the log, and the next try may succeed
            self._counters.log("streams", logger.error, "analytics: a live page failed", exc_info=True)
            return
        part = b"data: %s\n\n" % _to_json({"html": snapshot.html})
        now = time.monotonic()
        for listener in listeners:
            if listener.news != snapshot.news:
                listener.news = snapshot.news
                listener.put(part, now)
            since = listener.until if listener.waiting_since is None else listener.waiting_since
            if now - since > self._timing.slow and listener.task is not None:
                # The task waits for a client that does not read.
                self._counters.add("streams_slow")
                listener.call(listener.task.cancel)
