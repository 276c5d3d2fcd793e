"""The demo's blog, a WSGI application without a framework, so that it runs wherever the package does.

It has the routes of the blogs in the ``examples`` directory. The class at its end is a minimal adapter.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from html import escape
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, unquote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from analytics_middleware import wsgi
from analytics_middleware.analytics import Analytics
from analytics_middleware.context import RequestContext
from analytics_middleware.errors import MissingExtraError
from analytics_middleware.helpers import add_property, identify, set_event_name, set_revenue, set_user, track
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.wsgi import WSGIRunner

_PLANS: Final = {"monthly": "3.50", "yearly": "29.99"}
_POSTS: Final = {
    "first-flush": (
        "First flush",
        "green",
        "The first leaves of spring are picked before the rains. They taste of hay.",
    ),
    "hot-water": ("How hot is hot?", "craft", "Eighty degrees for green, ninety for oolong, a rolling boil for black."),
    "a-good-pot": ("A good pot", "craft", "Unglazed clay remembers every tea. Give it only one kind, and never soap."),
}
_SEARCH: Final = '<form action="/search"><input name="q" aria-label="Search"> <button>Search</button></form>'
_CHECKOUT: Final = """<form method="post" action="/purchase"><select name="plan" aria-label="Plan">
<option value="yearly">£29.99 a year</option><option value="monthly">£3.50 a month</option></select>
<button>Join</button></form>"""
_NEWSLETTER: Final = """<form method="post" action="/subscribe"><input type="email" name="email" aria-label="E-mail">
<button>Subscribe</button></form>"""
_LOGIN: Final = """<form method="post" action="/sign-in"><input name="name" aria-label="Your name">
<button>Sign in</button></form>"""
_BODY: Final = "<!-- body -->"
_PAGE: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · The Slow Kettle</title>
<style>
  body {{ max-width: 38rem; margin: 2rem auto; padding: 0 1rem; color: #2b2b28; font: 1.05rem/1.6 Georgia, serif; }}
  nav {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: baseline; border-bottom: 1px solid #ddd8cc; }}
  nav strong {{ margin-right: auto; }}
  a {{ color: #3d6b4f; }}
  input, select, button {{ font: inherit; padding: .2rem .6rem; }}
</style></head>
<body>
<nav><strong><a href="/">The Slow Kettle</a></strong> <a href="/archive">Archive</a> <a href="/quote">Quote</a>
<a href="/newsletter">Newsletter</a> <a href="/checkout">Join</a> <a href="/login">Sign in</a></nav>
<h1>{title}</h1>
<!-- body -->
</body></html>
"""
_FORM_LIMIT: Final = 10_000
_USER = "demo.user"
_ROUTE = "demo.route"


class _Visit(NamedTuple):
    """What a view knows of a request."""

    query: dict[str, list[str]]
    form: dict[str, list[str]]
    slug: str


class _Page(NamedTuple):
    """What a view answers."""

    title: str
    body: str | Iterable[str] = ""
    status: HTTPStatus = HTTPStatus.OK
    location: str | None = None
    cookie: str | None = None


class _Route(NamedTuple):
    method: str
    pattern: str
    view: Callable[[_Visit], _Page]


def make_blog(analytics: Analytics) -> WSGIApplication:
    """Return the blog, whose visits *analytics* records."""
    return _Middleware(_serve, analytics=analytics)


def with_dashboard(blog: WSGIApplication, analytics: Analytics) -> WSGIApplication:
    """Return *blog* with the dashboard, or without Jinja2 with a page that says so."""
    path = analytics.settings.dashboard_path
    try:
        dashboard: WSGIApplication = WSGIRunner(Dashboard(analytics))
    except MissingExtraError as error:
        dashboard = _saying(str(error))

    def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = environ.get("PATH_INFO", "")
        found = dashboard if asked == path or asked.startswith(f"{path}/") else blog
        return found(environ, start_response)

    return serve


def _saying(text: str) -> WSGIApplication:
    def serve(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain; charset=utf-8")])
        return [text.encode()]

    return serve


def _home(_visit: _Visit) -> _Page:
    return _Page("Notes on tea", _SEARCH + _links(_POSTS))


def _post(visit: _Visit) -> _Page:
    if visit.slug not in _POSTS:
        return _Page("No such post", _SEARCH, HTTPStatus.NOT_FOUND)
    title, category, text = _POSTS[visit.slug]
    add_property("category", category)
    return _Page(title, f"<p>{escape(text)}</p>")


def _search(visit: _Visit) -> _Page:
    query = _first(visit.query, "q")
    found = [slug for slug, texts in _POSTS.items() if query.lower() in " ".join(texts).lower()]
    set_event_name("search.submitted")
    add_property("query", query)
    add_property("results", len(found))
    return _Page("Search", _SEARCH + (_links(found) if found else "<p>Nothing found.</p>"))


def _archive(_visit: _Visit) -> _Page:
    def chunks() -> Iterator[str]:
        for slug in _POSTS:
            yield _links([slug])
        # In time: the event waits for the response's last byte.
        add_property("posts", len(_POSTS))

    return _Page("Archive", chunks())


def _quote(_visit: _Visit) -> _Page:
    time.sleep(0.02)  # another service's answer
    return _Page("Quote", "<blockquote>Tea is drunk to forget the din of the world.</blockquote>")


def _checkout(_visit: _Visit) -> _Page:
    return _Page("Join", _CHECKOUT)


def _purchase(visit: _Visit) -> _Page:
    plan = _first(visit.form, "plan")
    if plan not in _PLANS:
        return _Page("No such plan", _CHECKOUT, HTTPStatus.BAD_REQUEST)
    set_revenue(_PLANS[plan], "GBP")
    add_property("plan", plan)
    return _Page("", status=HTTPStatus.SEE_OTHER, location="/thanks")


def _thanks(_visit: _Visit) -> _Page:
    return _Page("Thank you", "<p>The first leaves are on their way.</p>")


def _newsletter(_visit: _Visit) -> _Page:
    return _Page("Newsletter", _NEWSLETTER)


def _subscribe(_visit: _Visit) -> _Page:
    track("newsletter.joined", {"list": "weekly"})
    return _Page("Welcome", "<p>See you on Sunday.</p>")


def _login(_visit: _Visit) -> _Page:
    return _Page("Sign in", _LOGIN)


def _sign_in(visit: _Visit) -> _Page:
    name = _first(visit.form, "name") or "guest"
    set_user(name)
    identify(name, {"name": name.partition("-")[0].title()})
    # Not signed, so anybody can claim any name. That is fine only in a demo on your own machine.
    cookie = f"user={quote(name)}; Path=/; HttpOnly; SameSite=Lax"
    return _Page("", status=HTTPStatus.SEE_OTHER, location="/", cookie=cookie)


def _sign_out(_visit: _Visit) -> _Page:
    return _Page("", status=HTTPStatus.SEE_OTHER, location="/", cookie="user=; Path=/; Max-Age=0")


def _broken(_visit: _Visit) -> _Page:
    raise RuntimeError("the kettle is empty")


_ROUTES: Final = (
    _Route("GET", "/", _home),
    _Route("GET", "/posts/{slug}", _post),
    _Route("GET", "/search", _search),
    _Route("GET", "/archive", _archive),
    _Route("GET", "/quote", _quote),
    _Route("GET", "/checkout", _checkout),
    _Route("POST", "/purchase", _purchase),
    _Route("GET", "/thanks", _thanks),
    _Route("GET", "/newsletter", _newsletter),
    _Route("POST", "/subscribe", _subscribe),
    _Route("GET", "/login", _login),
    _Route("POST", "/sign-in", _sign_in),
    _Route("POST", "/sign-out", _sign_out),
    _Route("GET", "/broken", _broken),
)


def _serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    method, path = environ["REQUEST_METHOD"], wsgi.wsgi_path(environ)
    found = _find("GET" if method == "HEAD" else method, path)
    if found is None:
        page = _Page("Not found", _SEARCH, HTTPStatus.NOT_FOUND)
    else:
        route, slug = found
        environ[_ROUTE] = route
        environ[_USER] = _signed_in(environ.get("HTTP_COOKIE", ""))
        page = route.view(_Visit(parse_qs(environ.get("QUERY_STRING", "")), _form(environ), slug))
    headers = [("Content-Type", "text/html; charset=utf-8")]
    if page.location is not None:
        headers.append(("Location", page.location))
    if page.cookie is not None:
        headers.append(("Set-Cookie", page.cookie))
    start_response(f"{page.status.value} {page.status.phrase}", headers)
    head, tail = _PAGE.format(title=escape(page.title)).split(_BODY)
    if isinstance(page.body, str):
        return [f"{head}{page.body}{tail}".encode()]
    return _stream(head, page.body, tail)


def _stream(head: str, body: Iterable[str], tail: str) -> Iterator[bytes]:
    yield head.encode()
    for chunk in body:
        yield chunk.encode()
    yield tail.encode()


def _find(method: str, path: str) -> tuple[_Route, str] | None:
    for route in _ROUTES:
        start, variable, _ = route.pattern.partition("{")
        if route.method == method and (path.startswith(start) if variable else path == start):
            return route, path.removeprefix(start)
    return None


def _form(environ: WSGIEnvironment) -> dict[str, list[str]]:
    length = environ.get("CONTENT_LENGTH") or "0"
    body: bytes = environ["wsgi.input"].read(min(int(length), _FORM_LIMIT)) if length.isdigit() else b""
    return parse_qs(body.decode("utf-8", "replace"))


def _first(values: dict[str, list[str]], name: str) -> str:
    return values.get(name, [""])[0]


def _signed_in(cookies: str) -> str | None:
    for pair in cookies.split(";"):
        name, _, value = pair.strip().partition("=")
        if name == "user" and value:
            return unquote(value)
    return None


def _links(slugs: Iterable[str]) -> str:
    items = "".join(f'<li><a href="/posts/{slug}">{escape(_POSTS[slug][0])}</a></li>' for slug in slugs)
    return f"<ul>{items}</ul>"


class _Middleware(wsgi.AnalyticsMiddleware):
    """Tells the core the route, view and user of a request."""

    def describe(self, environ: dict[str, Any], context: RequestContext) -> None:
        """Set route, view and user on *context*."""
        route: _Route | None = environ.get(_ROUTE)
        if route is not None:
            context.pattern = route.pattern
            context.endpoint = route.view.__name__.removeprefix("_")
            context.user_id = environ[_USER]
