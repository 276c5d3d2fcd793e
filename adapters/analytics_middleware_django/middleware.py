"""The middleware: one class for WSGI and ASGI, synchronous and asynchronous, so Django needs no thread to adapt it."""

import asyncio
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from analytics_middleware.context import RequestContext, current
from analytics_middleware_django import checks, signals
from analytics_middleware_django._django import MiddlewareNotUsed
from analytics_middleware_django.conf import get_analytics
from analytics_middleware_django.ending import failed, finish, watch
from analytics_middleware_django.facts import enter


class AnalyticsMiddleware:
    """Records an event for each request. Put it first in ``MIDDLEWARE``.

    It does not see requests that middleware before it answers, and if such middleware replaces a response, the event
    shows the original one. Settings are read from ``settings.ANALYTICS``.

    Raises `django.core.exceptions.ImproperlyConfigured` at start if a setting is wrong.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        if get_analytics().settings.enabled is False:
            raise MiddlewareNotUsed("settings.ANALYTICS['ENABLED'] is False")
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)
        if get_analytics().visitor_cookie is not None:
            signals.listen()
        checks.log_once()

    def __call__(self, request: Any) -> Any:
        """Serve one request, asynchronously if the next layer is asynchronous."""
        if self._is_async:
            return self._serve(request)
        context = self._enter(request)
        if context is None:
            return self.get_response(request)
        token = current.set(context)
        try:
            response = self.get_response(request)
        except BaseException as error:
            finish(context, failed(error))
            if context.analytics.settings.flush_on_response:
                context.analytics.flush_response()
            raise
        finally:
            current.reset(token)
        try:
            watch(response, context)
        except Exception:  # noqa: BLE001 - an unusual response must still reach its client
            self._give_up(context, response)
        return response

    async def _serve(self, request: Any) -> Any:
        context = self._enter(request)
        if context is None:
            return await self.get_response(request)
        token = current.set(context)
        try:
            response = await self.get_response(request)
        except BaseException as error:
            finish(context, failed(error))
            if context.analytics.settings.flush_on_response and not isinstance(error, GeneratorExit):
                await asyncio.to_thread(context.analytics.flush_response)
            raise
        finally:
            current.reset(token)
        try:
            ending = watch(response, context)
            # Under Django's handler this task goes on to send the response.
            task = asyncio.current_task()
            if task is not None:
                ending.follow(task)
        except Exception:  # noqa: BLE001 - see above
            self._give_up(context, response)
        return response

    def _enter(self, request: Any) -> RequestContext | None:
        analytics = get_analytics()
        if not analytics.active:
            return None
        try:
            return enter(analytics, request)
        except Exception:  # noqa: BLE001 - the request goes on without being recorded
            analytics.note_internal_error()
            return None

    def _give_up(self, context: RequestContext, response: Any) -> None:
        context.analytics.note_internal_error()
        finish(context, getattr(response, "status_code", None))
