"""Handing the current request over to what outlives it: threads of one's own, and tasks in another process.

`track` there is then filled with what the request knew, as it is within the request::

    pool.submit(carry(send_mail), order)          # a thread

    task.apply_async(headers=headers())           # where the task is sent, within a request
    with restored(analytics, task_headers): ...   # where it runs
"""

import functools
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import msgspec

from analytics_middleware.admission import MAX_TEXT
from analytics_middleware.context import RequestContext, current
from analytics_middleware.enrich.privacy import OBJECTIONS, objects
from analytics_middleware.event import Event
from analytics_middleware.properties import MAX_NAME, clean_text

if TYPE_CHECKING:
    from analytics_middleware.analytics import Analytics

P = ParamSpec("P")
R = TypeVar("R")

HEADER: Final = "x-analytics-context"
"""The name of the one header that carries it all."""

_MAX = 8192
_KEPT = {"host": 255, "user-agent": MAX_TEXT, "referer": MAX_TEXT, "accept-language": MAX_TEXT}
"""Request headers that go along because an event shows them, and how many characters of each it can show.

Besides, the visitor's objection to tracking goes along, which must be honoured wherever the event is made. Cookies,
addresses and queries stay: queues and their logs keep what passes through.
"""


class _Passport(msgspec.Struct, omit_defaults=True):
    method: str = "GET"
    scheme: str = "http"
    path: str = "/"
    headers: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    pattern: str | None = None
    user_id: str | None = None
    anon_id: str | None = None
    locale: str | None = None
    action_name: str | None = None
    left_out: bool = False
    """Whether whoever made the request makes no events (`exclude`)."""
    given: bool = False
    """Whether there was no request but what `Analytics.context` was told; what it was not told is empty."""


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Passport)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return *function* bound to the current request, to be called in any thread, any number of times."""
    context = current.get()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> R:
        token = current.set(context)
        try:
            return function(*args, **kwargs)
        finally:
            current.reset(token)

    return carried


def headers() -> dict[str, str]:
    """Return what a task must be sent along with to know the current request; nothing outside a request."""
    context = current.get()
    if context is None:
        return {}
    if not context.finished:
        # The framework knows by now whose request it is.
        context.read_framework_facts()
    passport = _passport(context)
    encoded = _encode(passport).decode()
    if len(encoded) > _MAX:
        # Visitors decide how long their headers are, and must not lose their objection by it.
        encoded = _encode(_essence(passport)).decode()
    return {HEADER: encoded}


@contextmanager
def restored(analytics: "Analytics", sent: Mapping[str, Any] | None) -> Generator[None]:
    """Have `track` in the block filled from the request whose `headers` are among those *sent*.

    Where there are none of them, for no request sent the task, `track` records what it is told and no more; within a
    request or another block nothing changes. Nothing in *sent* raises: it may come from an older version, or from
    somebody else. What can't be read changes nothing either: it may be an objection to tracking.
    """
    context = _context(analytics, sent)
    if context is None:
        yield
        return
    token = current.set(context)
    try:
        yield
    finally:
        current.reset(token)
        context.finished = True


def _context(analytics: "Analytics", sent: Mapping[str, Any] | None) -> RequestContext | None:
    """Return what a task's block is to have in place of a request, None for what there is already."""
    context = RequestContext(analytics)
    context.automatic = False
    if not sent or HEADER not in sent:
        context.given = Event()
        return context if current.get() is None else None
    passport = _read(sent)
    if passport is None:
        return None
    # By address or program or as staff: it comes to the same, and only the request could tell.
    context.staff = passport.left_out
    if passport.given:
        context.given = Event(
            method=passport.method or None,
            path=passport.path or None,
            matched_pattern=passport.pattern,
            user_id=passport.user_id,
            anon_id=passport.anon_id,
            locale=passport.locale,
        )
        return context
    context.handed_over = True
    context.entered = time.time()
    context.method, context.scheme, context.path = passport.method, passport.scheme, passport.path
    context.headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in passport.headers.items()]
    context.pattern, context.user_id, context.anon_id = passport.pattern, passport.user_id, passport.anon_id
    context.locale, context.action_name = passport.locale, passport.action_name
    return context


def _passport(context: RequestContext) -> _Passport:
    given = context.given
    if given is not None:
        # A task that sends a task: what `Analytics.context` was told.
        return _Passport(
            method=_text(given.method) or "",
            path=_text(given.path, MAX_TEXT) or "",
            pattern=_text(given.matched_pattern, MAX_TEXT),
            user_id=_text(given.user_id),
            anon_id=_text(given.anon_id),
            locale=_text(given.locale),
            left_out=context.staff,
            given=True,
        )
    request = context.facts()
    kept = {
        name: clean_text(value, most) for name, most in _KEPT.items() if (value := request.header(name)) is not None
    }
    return _Passport(
        method=_text(context.method) or "GET",
        scheme=context.scheme,
        path=_text(context.path, MAX_TEXT) or "",
        headers=kept | {name: "1" for name in OBJECTIONS if objects(request, name)},
        pattern=_text(context.pattern, MAX_TEXT),
        user_id=_text(context.user_id if context.set_user_id is None else context.set_user_id),
        anon_id=_text(context.anon_id),
        locale=_text(context.locale),
        action_name=_text(context.action_name),
        left_out=context.staff or context.analytics.leaves_out(request),
    )


def _essence(passport: _Passport) -> _Passport:
    """Return what of *passport* must not be lost, and is short."""
    return _Passport(
        method=passport.method,
        path="",
        headers={name: passport.headers[name] for name in OBJECTIONS if name in passport.headers},
        user_id=passport.user_id,
        left_out=passport.left_out,
        given=passport.given,
    )


def _text(value: object, most: int = MAX_NAME) -> str | None:
    """Return *value* as plain text of at most so many characters, None for what says nothing."""
    if value is None:
        return None
    # Frameworks have texts of their own, such as Django's SafeString.
    return clean_text(str.__str__(value) if isinstance(value, str) else str(value), most) or None


def _read(sent: Mapping[str, Any]) -> _Passport | None:
    text = sent[HEADER]
    if not isinstance(text, str) or len(text) > _MAX:
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return None
