"""Passes the current request on to code that may outlive it: your own threads, and tasks in other processes.

`track` there fills events from that request, as it does inside the request::

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
"""Name of the single header that carries the request's facts."""

_MAX = 8192
_KEPT = {"host": 255, "user-agent": MAX_TEXT, "referer": MAX_TEXT, "accept-language": MAX_TEXT}
"""Request headers that are passed on because events show them, and how many characters of each events can show.

The visitor's objection to tracking is passed on too, because it holds wherever the event is made. Cookies, addresses
and queries are not: task queues and their logs keep what passes through them.
"""


class _RequestFacts(msgspec.Struct, omit_defaults=True):
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
    """Whether `exclude` leaves out the visitor who made the request."""
    given: bool = False
    """Whether there was no request and these are the facts given to `Analytics.context`; others are empty."""


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_RequestFacts)


def carry(function: Callable[P, R]) -> Callable[P, R]:
    """Return *function* bound to the current request; it can be called in any thread, any number of times."""
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
    """Return the headers with which to send a task so that it knows the current request; empty outside a request."""
    context = current.get()
    if context is None:
        return {}
    if not context.finished:
        # By now the framework knows the user.
        context.read_framework_facts()
    facts = _facts_of(context)
    encoded = _encode(facts).decode()
    if len(encoded) > _MAX:
        # Visitors decide how long their headers are; a long one must not lose their objection to tracking.
        encoded = _encode(_essentials(facts)).decode()
    return {HEADER: encoded}


@contextmanager
def restored(analytics: "Analytics", sent: Mapping[str, Any] | None) -> Generator[None]:
    """Make `track` in the block fill events from the request whose `headers` are among those *sent*.

    If they are not, because no request sent the task, `track` records only what it is given; inside a request or
    another block nothing changes. Nothing in *sent* makes this raise: it may come from an older version or a stranger.
    If the headers can't be read, nothing changes either: they may hold an objection to tracking.
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
    """Return the context for a task's block, or None to leave the current one."""
    context = RequestContext(analytics)
    context.automatic = False
    if not sent or HEADER not in sent:
        context.given = Event()
        return context if current.get() is None else None
    facts = _read(sent)
    if facts is None:
        return None
    # The reason for exclusion does not matter here, so `staff` stands for all of them.
    context.staff = facts.left_out
    if facts.given:
        context.given = Event(
            method=facts.method or None,
            path=facts.path or None,
            matched_pattern=facts.pattern,
            user_id=facts.user_id,
            anon_id=facts.anon_id,
            locale=facts.locale,
        )
        return context
    context.restored = True
    context.entered = time.time()
    context.method, context.scheme, context.path = facts.method, facts.scheme, facts.path
    context.headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in facts.headers.items()]
    context.pattern, context.user_id, context.anon_id = facts.pattern, facts.user_id, facts.anon_id
    context.locale, context.action_name = facts.locale, facts.action_name
    return context


def _facts_of(context: RequestContext) -> _RequestFacts:
    given = context.given
    if given is not None:
        # The task is sent from a job, or from a task that no request sent.
        return _RequestFacts(
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
    return _RequestFacts(
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


def _essentials(facts: _RequestFacts) -> _RequestFacts:
    """Return *facts* reduced to what must not be lost, which is short."""
    return _RequestFacts(
        method=facts.method,
        path="",
        headers={name: facts.headers[name] for name in OBJECTIONS if name in facts.headers},
        user_id=facts.user_id,
        left_out=facts.left_out,
        given=facts.given,
    )


def _text(value: object, most: int = MAX_NAME) -> str | None:
    """Return *value* as a plain str of at most *most* characters, None if it is empty."""
    if value is None:
        return None
    # Frameworks have subclasses of str, such as Django's SafeString.
    return clean_text(str.__str__(value) if isinstance(value, str) else str(value), most) or None


def _read(sent: Mapping[str, Any]) -> _RequestFacts | None:
    text = sent[HEADER]
    if not isinstance(text, str) or len(text) > _MAX:
        return None
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return None
