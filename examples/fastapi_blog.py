"""A blog with a checkout on FastAPI that prints what its visitors do.

One middleware records page views and actions; the helpers add what only a view knows.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from html import escape
from typing import Annotated

from fastapi import FastAPI, Form, Request
from fastapi.middleware import Middleware
from fastapi.responses import HTMLResponse, RedirectResponse, StreamingResponse
from starlette.middleware.sessions import SessionMiddleware

from analytics_middleware import Analytics, add_property, set_event_name, set_revenue, set_user, track
from analytics_middleware.collectors import StdoutCollector
from analytics_middleware_starlette import AnalyticsAPI, AnalyticsDashboard, AnalyticsMiddleware

analytics = Analytics(
    [StdoutCollector(pretty=True)],
    data_dir=os.environ.get("BLOG_DATA_DIR"),
    get_user_id=lambda request: request.session.get("user"),
    read_token=os.environ.get("BLOG_READ_TOKEN"),  # without it, the log shows a login address
)
app = FastAPI(
    default_response_class=HTMLResponse,
    middleware=[
        Middleware(AnalyticsMiddleware, analytics=analytics),  # first: it times everything, and sees every response
        Middleware(SessionMiddleware, secret_key=os.environ.get("BLOG_SECRET", "only for trying it out")),
    ],
)
app.mount("/api/analytics", AnalyticsAPI(analytics))
app.mount("/analytics", AnalyticsDashboard(analytics))

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


def html(request: Request, title: str, body: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(page(title, body, request.session.get("user")), status)


@app.get("/")
async def home(request: Request) -> HTMLResponse:
    return html(request, "Notes on tea", SEARCH + links(POSTS))


@app.get("/posts/{slug}")
async def post(request: Request, slug: str) -> HTMLResponse:
    if slug not in POSTS:
        return html(request, "No such post", SEARCH, 404)
    title, category, text = POSTS[slug]
    add_property("category", category)
    return html(request, title, f"<p>{escape(text)}</p>")


@app.get("/search")
def search(request: Request, q: str = "") -> HTMLResponse:  # runs in a thread, where the helpers still work
    found = [slug for slug, texts in POSTS.items() if q.lower() in " ".join(texts).lower()]
    set_event_name("search.submitted")  # turns the page view into a named event
    add_property("query", q)
    add_property("results", len(found))
    return html(request, "Search", SEARCH + links(found))


@app.get("/archive")
async def archive() -> StreamingResponse:
    async def chunks() -> AsyncIterator[str]:
        head, tail = page("Archive", "<!-- posts -->").split("<!-- posts -->")
        yield head
        for slug in POSTS:
            yield links([slug])
        add_property("posts", len(POSTS))  # still in time: the event is made after the last byte
        yield tail

    return StreamingResponse(chunks(), media_type="text/html")


@app.get("/quote")
async def quote(request: Request) -> HTMLResponse:
    await asyncio.sleep(0.02)  # stands for a call to another service
    return html(request, "Quote", "<blockquote>Tea is drunk to forget the din of the world.</blockquote>")


@app.get("/checkout")
async def checkout(request: Request) -> HTMLResponse:
    return html(request, "Join", CHECKOUT)


@app.post("/purchase", response_model=None)
async def purchase(request: Request, plan: Annotated[str, Form()]) -> HTMLResponse | RedirectResponse:
    if plan not in PLANS:
        return html(request, "No such plan", CHECKOUT, 400)
    set_revenue(PLANS[plan], "GBP")
    add_property("plan", plan)
    return RedirectResponse("/thanks", 303)


@app.get("/thanks")
async def thanks(request: Request) -> HTMLResponse:
    return html(request, "Thank you", "<p>The first leaves are on their way.</p>")


@app.get("/newsletter")
async def newsletter(request: Request) -> HTMLResponse:
    return html(request, "Newsletter", NEWSLETTER)


@app.post("/subscribe")
async def subscribe(request: Request) -> HTMLResponse:
    track("newsletter.joined", {"list": "weekly"})  # one more event, in addition to the request's own
    return html(request, "Welcome", "<p>See you on Sunday.</p>")


@app.get("/login")
async def login(request: Request) -> HTMLResponse:
    return html(request, "Sign in", LOGIN)


@app.post("/sign-in")
async def sign_in(request: Request, name: Annotated[str, Form()] = "guest") -> RedirectResponse:
    request.session["user"] = name
    set_user(name)  # overrides get_user_id; only this request needs it
    return RedirectResponse("/", 303)


@app.post("/sign-out")
async def sign_out(request: Request) -> RedirectResponse:
    request.session.clear()
    return RedirectResponse("/", 303)


@app.get("/broken")
async def broken() -> HTMLResponse:
    raise RuntimeError("the kettle is empty")
