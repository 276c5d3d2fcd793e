"""Whether the server that runs an event loop has begun to shut down.

A server waits for open connections before it ends, and ASGI has no message that tells an application to close them:
lifespan's shutdown event comes later. uvicorn (0.34 and later; tried with 0.54) notes it in `Server.should_exit`. It
hands that object to nobody, so it is found in the coroutines that run on the loop. Other servers can't be asked.
"""

import asyncio
from typing import Any
from weakref import WeakKeyDictionary

from analytics_middleware.counters import logger


class Servers:
    """The servers of each event loop, looked for once."""

    def __init__(self) -> None:
        self._found: WeakKeyDictionary[asyncio.AbstractEventLoop, list[Any]] = WeakKeyDictionary()

    def stopping(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Return whether a server on *loop* has begun to shut down; False if none is found there."""
        servers = self._found.get(loop)
        if servers is None:
            servers = self._found[loop] = _servers_on(loop)
            if not servers:
                logger.debug("analytics: no uvicorn found: at its end the server may wait a minute for live pages")
        return any(server.should_exit for server in servers)


def _servers_on(loop: asyncio.AbstractEventLoop) -> list[Any]:
    found: list[Any] = []
    for task in asyncio.all_tasks(loop):
        at: Any = task.get_coro()
        while at is not None:
            frame = getattr(at, "cr_frame", None)
            runs = None if frame is None else frame.f_locals.get("self")
            if isinstance(getattr(runs, "should_exit", None), bool):
                found.append(runs)
            at = getattr(at, "cr_await", None)
    return found
