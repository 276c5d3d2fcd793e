"""A blog with a checkout on Django, in one file, that prints what its visitors do.

One middleware records page views and actions; the helpers add what only a view knows. ``application`` is for WSGI
servers, ``asgi_application`` for ASGI servers.
"""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from html import escape

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import include, path
from django.views.decorators.http import require_POST

from analytics_middleware import add_property, set_event_name, set_revenue, set_user, track
from analytics_middleware.collectors import StdoutCollector

settings.configure(
    DEBUG="runserver" in sys.argv,
    SECRET_KEY=os.environ.get("BLOG_SECRET", "only for trying it out"),
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["analytics_middleware_django"],
    # A real site also needs CsrfViewMiddleware; here SameSite cookies must do, to keep the forms simple.
    MIDDLEWARE=[
        "analytics_middleware_django.AnalyticsMiddleware",  # first: it times everything, and sees every response
        "django.contrib.sessions.middleware.SessionMiddleware",
    ],
    SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    ANALYTICS={
        "COLLECTORS": [StdoutCollector(pretty=True)],
        "DATA_DIR": os.environ.get("BLOG_DATA_DIR"),
        "READ_TOKEN": os.environ.get("BLOG_READ_TOKEN"),  # without it, the log shows a login address
        # Not needed with django.contrib.auth.
        "GET_USER_ID": lambda request: request.session.get("user"),
    },
)

PLANS = {"monthly": "3.50", "yearly": "29.99"}
POSTS = {
    "first-flush": (
        "First flush",
        "green",
        "The first leaves of spring are picked before the rains. They taste of hay.",
    ),
    "hot-water": ("How hot is hot?", "craft", "Eighty degrees for green, ninety for oolong, a rolling boil for black."),
    "a-good-pot": ("A good pot", "craft", "Unglazed clay remembers every tea. Give it only one kind, and never soap."),
}


def page(title: str, body: str, user: str | None = None) -> str:
    account = (
        f'<form method="post" action="/sign-out"><button>Sign out {escape(user)}</button></form>'
        if user
        else '<a href="/login">Sign in</a>'
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · The Slow Kettle</title>
<style>
  body {{ max-width: 38rem; margin: 2rem auto; padding: 0 1rem; color: #2b2b28; font: 1.05rem/1.6 Georgia, serif; }}
  nav {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: baseline; border-bottom: 1px solid #ddd8cc; }}
  nav strong {{ margin-right: auto; }}
  a {{ color: #3d6b4f; }}
  input, select, button {{ font: inherit; padding: .2rem .6rem; }}
</style>
</head>
<body>
<nav><strong><a href="/">The Slow Kettle</a></strong> <a href="/archive">Archive</a> <a href="/quote">Quote</a>
<a href="/newsletter">Newsletter</a> <a href="/checkout">Join</a> {account}</nav>
<h1>{escape(title)}</h1>
{body}
</body>
</html>
"""


def links(slugs: Iterable[str]) -> str:
    items = "".join(f'<li><a href="/posts/{slug}">{escape(POSTS[slug][0])}</a></li>' for slug in slugs)
    return f"<ul>{items}</ul>" if items else "<p>Nothing found.</p>"


SEARCH = '<form action="/search"><input name="q" aria-label="Search"> <button>Search</button></form>'
CHECKOUT = """<form method="post" action="/purchase"><select name="plan" aria-label="Plan">
<option value="yearly">£29.99 a year</option><option value="monthly">£3.50 a month</option></select>
<button>Join</button></form>"""
NEWSLETTER = """<form method="post" action="/subscribe"><input type="email" name="email" aria-label="E-mail" required>
<button>Subscribe</button></form>"""
LOGIN = """<form method="post" action="/sign-in"><input name="name" aria-label="Your name" required>
<button>Sign in</button></form>"""


def html(request: HttpRequest, title: str, body: str, status: int = 200) -> HttpResponse:
    return HttpResponse(page(title, body, request.session.get("user")), status=status)


def see_other(location: str) -> HttpResponse:
    response = HttpResponseRedirect(location)
    response.status_code = 303
    return response


def home(request: HttpRequest) -> HttpResponse:
    return html(request, "Notes on tea", SEARCH + links(POSTS))


def post(request: HttpRequest, slug: str) -> HttpResponse:
    if slug not in POSTS:
        return html(request, "No such post", SEARCH, 404)
    title, category, text = POSTS[slug]
    add_property("category", category)
    return html(request, title, f"<p>{escape(text)}</p>")


def search(request: HttpRequest) -> HttpResponse:
    query = request.GET.get("q", "")
    found = [slug for slug, texts in POSTS.items() if query.lower() in " ".join(texts).lower()]
    set_event_name("search.submitted")  # turns the page view into a named event
    add_property("query", query)
    add_property("results", len(found))
    return html(request, "Search", SEARCH + links(found))


def archive(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        head, tail = page("Archive", "<!-- posts -->").split("<!-- posts -->")
        yield head
        for slug in POSTS:
            yield links([slug])
        add_property("posts", len(POSTS))  # still in time: the event is made after the last byte
        yield tail

    return StreamingHttpResponse(chunks())


async def quote(request: HttpRequest) -> HttpResponse:
    await asyncio.sleep(0.02)  # stands for a call to another service
    return html(request, "Quote", "<blockquote>Tea is drunk to forget the din of the world.</blockquote>")


def checkout(request: HttpRequest) -> HttpResponse:
    return html(request, "Join", CHECKOUT)


@require_POST
def purchase(request: HttpRequest) -> HttpResponse:
    plan = request.POST.get("plan", "")
    if plan not in PLANS:
        return html(request, "No such plan", CHECKOUT, 400)
    set_revenue(PLANS[plan], "GBP")
    add_property("plan", plan)
    return see_other("/thanks")


def thanks(request: HttpRequest) -> HttpResponse:
    return html(request, "Thank you", "<p>The first leaves are on their way.</p>")


def newsletter(request: HttpRequest) -> HttpResponse:
    return html(request, "Newsletter", NEWSLETTER)


@require_POST
def subscribe(request: HttpRequest) -> HttpResponse:
    track("newsletter.joined", {"list": "weekly"})  # one more event, in addition to the request's own
    return html(request, "Welcome", "<p>See you on Sunday.</p>")


def login(request: HttpRequest) -> HttpResponse:
    return html(request, "Sign in", LOGIN)


@require_POST
def sign_in(request: HttpRequest) -> HttpResponse:
    request.session["user"] = request.POST.get("name", "guest")
    set_user(request.session["user"])  # overrides GET_USER_ID; only this request needs it
    return see_other("/")


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    request.session.flush()
    return see_other("/")


def broken(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the kettle is empty")


urlpatterns = [
    path("", include("analytics_middleware_django.urls")),  # the API at /api/analytics, the pages at /analytics
    path("", home, name="home"),
    path("posts/<slug:slug>", post, name="post"),
    path("search", search, name="search"),
    path("archive", archive, name="archive"),
    path("quote", quote, name="quote"),
    path("checkout", checkout, name="checkout"),
    path("purchase", purchase, name="purchase"),
    path("thanks", thanks, name="thanks"),
    path("newsletter", newsletter, name="newsletter"),
    path("subscribe", subscribe, name="subscribe"),
    path("login", login, name="login"),
    path("sign-in", sign_in, name="sign_in"),
    path("sign-out", sign_out, name="sign_out"),
    path("broken", broken, name="broken"),
]
application = get_wsgi_application()
asgi_application = get_asgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
