"""When a response is over: Django closes it after its last byte, or before it if the client has gone.

A response's closers are where Django itself hangs what must happen then (a generator's ``close``, the request's).
They also run for a `FileResponse` that the server sends through ``wsgi.file_wrapper``, which stays untouched.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from contextvars import Token
from types import FrameType
from typing import Any

from analytics_middleware.context import RequestContext, current

_BODILESS = (204, 304)


def watch(response: Any, context: RequestContext) -> "Ending":
    """Finish *context* when *response* is over; what its body's generators call finds the current request."""
    # The one header that says what kind of answer it was; who may keep it matters to a cookie only.
    said = (("content-type", response.headers.get("Content-Type", "")),)
    if context.analytics.visitor_cookie is not None:
        said = tuple(response.headers.items())
    if (cookie := context.respond(response.status_code, said)) is not None:
        response.cookies.load(cookie)
        # Django's cache middleware keeps answers with cookies, and would give this one to everybody.
        context.source._cache_update_cache = False
    ending = Ending(context)
    closers: list[Any] = response._resource_closers
    # Setting the content of a file's response would end its use of sendfile.
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        ending.streaming = True
        content = response.streaming_content
        response.streaming_content = (AsyncStream if response.is_async else Stream)(content, ending)
        closers.insert(0, ending.resume)
    closers.append(ending)
    return ending


def finish(context: RequestContext, status: int | None) -> None:
    """Finish *context* now, with *status*; nothing happens if it is finished."""
    if not context.finished:
        context.status = status
        context.finish(time.perf_counter() - context.clock)


def failed(error: BaseException) -> int:
    """Return the status of a request that ended with *error*: the client gave up waiting, or the application failed."""
    return 499 if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else 500


class Ending:
    """The closer that finishes the event of a response's request, once."""

    __slots__ = ("_closes_itself", "_token", "context", "streaming")

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self.streaming = False
        """Whether there is a stream that has not been exhausted."""
        self._token: Token[RequestContext | None] | None = None
        self._closes_itself = False

    def resume(self) -> None:
        """Give the other closers, a generator's ``finally`` among them, their request back."""
        self._token = current.set(self.context)

    def __call__(self) -> None:
        """End the request: its response is closed."""
        context = self.context
        if self._token is not None:
            current.reset(self._token)
            self._token = None
        cut_off = self.streaming and context.method != "HEAD" and context.status not in _BODILESS
        finish(context, 499 if cut_off else context.status)
        if context.analytics.settings.flush_on_response:
            context.analytics.flush_response()

    def follow(self, task: "asyncio.Task[Any]") -> None:
        """Look at how *task*, which sends the response or calls what does, ends."""
        self._closes_itself = _within_handler()
        task.add_done_callback(self.task_done)

    def task_done(self, task: "asyncio.Task[Any]") -> None:
        """End the request if *task*, which was to send the response, was cancelled or raised.

        Django's ASGI handler does not close a response that it failed to send, and closes one whose client has gone
        like any other.
        """
        context = self.context
        if context.finished:
            return
        if task.cancelled() or task.cancelling():
            finish(context, 499)
        elif (error := task.exception()) is not None:
            # What servers raise when they send to a client that has gone is an OSError (ASGI 2.4).
            finish(context, 499 if isinstance(error, OSError) else failed(error))
        elif self._closes_itself:
            # Whoever called the handler took the error of sending; the response was never closed.
            finish(context, 499)

    def __reduce__(self) -> Any:
        # Django's cache middleware pickles responses; in the copy there is nothing to end.
        return Ended, ()


def _within_handler() -> bool:
    """Whether this task runs Django's handler itself, from the request to the closing: so it is from Django 6.1 on.

    Before, a task of its own sends the response; under sync middleware another task ends before it is sent.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_qualname == "ASGIHandler.handle":
            return True
        frame = frame.f_back
    return False


class Ended:
    """The closer in a copy of a response."""

    def __call__(self) -> None:
        """Do nothing."""


class Stream:
    """A body that is made piece by piece, each within its request; tells the ending whether it got to its end."""

    def __init__(self, content: Iterator[bytes], ending: Ending) -> None:
        self._content = content
        self._ending = ending

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        ending = self._ending
        # Servers iterate after the middleware has returned, some of them in another thread.
        token = current.set(ending.context)
        try:
            return next(self._content)
        except StopIteration:
            ending.streaming = False
            raise
        except BaseException as error:
            finish(ending.context, failed(error))
            raise
        finally:
            current.reset(token)


class AsyncStream:
    """The same for a body from an asynchronous iterator."""

    def __init__(self, content: AsyncIterator[bytes], ending: Ending) -> None:
        self._content = content
        self._ending = ending

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        ending = self._ending
        token = current.set(ending.context)
        try:
            return await anext(self._content)
        except StopAsyncIteration:
            ending.streaming = False
            raise
        except BaseException as error:
            finish(ending.context, failed(error))
            raise
        finally:
            # Abandoned while it waited, it is closed by the garbage collector, in another context.
            with suppress(ValueError):
                current.reset(token)
