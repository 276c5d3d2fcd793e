"""Finishes an event when its response is over: Django closes it after its last byte, or when the client has gone.

Django then calls the response's closers (a generator's ``close``, the request's), to which ours is added. They also
run for a `FileResponse` that the server sends through ``wsgi.file_wrapper``, which therefore needs no wrapping.
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
    """Finish *context* when *response* is over, and make it the current request while the body is generated."""
    # The content type is enough to classify the response; only a visitor cookie also depends on the caching headers.
    headers = (("content-type", response.headers.get("Content-Type", "")),)
    if context.analytics.visitor_cookie is not None:
        headers = tuple(response.headers.items())
    if (cookie := context.respond(response.status_code, headers)) is not None:
        response.cookies.load(cookie)
        # Django's cache middleware stores responses with cookies, and would give this cookie to everybody.
        context.source._cache_update_cache = False
    ending = Ending(context)
    closers: list[Any] = response._resource_closers
    # Wrapping the content of a file's response would end its use of sendfile.
    if response.streaming and getattr(response, "file_to_stream", None) is None:
        ending.streaming = True
        content = response.streaming_content
        response.streaming_content = (AsyncStream if response.is_async else Stream)(content, ending)
        closers.insert(0, ending.resume)
    closers.append(ending)
    return ending


def finish(context: RequestContext, status: int | None) -> None:
    """Finish *context* with *status*, unless it is already finished."""
    if not context.finished:
        context.status = status
        context.finish(time.perf_counter() - context.clock)


def failed(error: BaseException) -> int:
    """Return the status of a request that ended with *error*: 499 if the client gave up, 500 if the view failed."""
    return 499 if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else 500


class Ending:
    """The closer of a response that finishes the event of its request, once."""

    __slots__ = ("_closes_itself", "_token", "context", "streaming")

    def __init__(self, context: RequestContext) -> None:
        self.context = context
        self.streaming = False
        """Whether there is a stream that has not been exhausted."""
        self._token: Token[RequestContext | None] | None = None
        self._closes_itself = False

    def resume(self) -> None:
        """Make the request current again for the other closers, such as a generator's ``finally``."""
        self._token = current.set(self.context)

    def __call__(self) -> None:
        """End the request, because its response is closed."""
        context = self.context
        if self._token is not None:
            current.reset(self._token)
            self._token = None
        cut_off = self.streaming and context.method != "HEAD" and context.status not in _BODILESS
        finish(context, 499 if cut_off else context.status)
        if context.analytics.settings.flush_on_response:
            context.analytics.flush_response()

    def follow(self, task: "asyncio.Task[Any]") -> None:
        """Watch the end of *task*, which sends the response or calls the code that does."""
        self._closes_itself = _within_handler()
        task.add_done_callback(self.task_done)

    def task_done(self, task: "asyncio.Task[Any]") -> None:
        """End the request if *task*, which should have sent the response, was cancelled or raised.

        Django's ASGI handler does not close a response that it failed to send. It does close one whose client has gone,
        like any other.
        """
        context = self.context
        if context.finished:
            return
        if task.cancelled() or task.cancelling():
            finish(context, 499)
        elif (error := task.exception()) is not None:
            # Servers raise OSError when they send to a client that has gone (ASGI 2.4).
            finish(context, 499 if isinstance(error, OSError) else failed(error))
        elif self._closes_itself:
            # The handler's caller caught the error of sending, so the response was never closed.
            finish(context, 499)

    def __reduce__(self) -> Any:
        # Django's cache middleware pickles responses; the copy belongs to no request.
        return Ended, ()


def _within_handler() -> bool:
    """Whether this task runs Django's whole handler, from request to closing, as it does from Django 6.1 on.

    Before 6.1 a separate task sends the response, and under sync middleware this task ends before it is sent.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_qualname == "ASGIHandler.handle":
            return True
        frame = frame.f_back
    return False


class Ended:
    """The closer in a pickled copy of a response."""

    def __call__(self) -> None:
        """Do nothing."""


class Stream:
    """A streamed body. The request is current while it is generated, and *ending* is told when it is exhausted."""

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
    """Like `Stream`, for an asynchronous iterator."""

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
            # If it is abandoned while it waits, the garbage collector closes it in another context.
            with suppress(ValueError):
                current.reset(token)
