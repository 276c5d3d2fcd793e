"""A blog with a checkout on Flask that prints what its visitors do.

One extension records page views and actions; the helpers add what only a view knows.
"""

import asyncio
import os
from collections.abc import Iterable, Iterator
from html import escape

from flask import Flask, Response, redirect, request, session
from werkzeug.wrappers import Response as AnyResponse

from analytics_middleware import add_property, set_event_name, set_revenue, set_user, track
from analytics_middleware.collectors import StdoutCollector
from analytics_middleware_flask import FlaskAnalytics

app = Flask(__name__)
app.secret_key = os.environ.get("BLOG_SECRET", "only for trying it out")
app.config["ANALYTICS"] = {
    "collectors": [StdoutCollector(pretty=True)],
    "data_dir": os.environ.get("BLOG_DATA_DIR"),
    "read_token": os.environ.get("BLOG_READ_TOKEN"),  # without it, the log shows a login address
    "get_user_id": lambda _request: session.get("user"),  # not needed with Flask-Login
}
FlaskAnalytics(app)  # also serves the API at /api/analytics and the pages at /analytics

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


def html(title: str, body: str) -> str:
    return page(title, body, session.get("user"))


@app.get("/")
def home() -> str:
    return html("Notes on tea", SEARCH + links(POSTS))


@app.get("/posts/<slug>")
def post(slug: str) -> str | tuple[str, int]:
    if slug not in POSTS:
        return html("No such post", SEARCH), 404
    title, category, text = POSTS[slug]
    add_property("category", category)
    return html(title, f"<p>{escape(text)}</p>")


@app.get("/search")
def search() -> str:
    query = request.args.get("q", "")
    found = [slug for slug, texts in POSTS.items() if query.lower() in " ".join(texts).lower()]
    set_event_name("search.submitted")  # turns the page view into a named event
    add_property("query", query)
    add_property("results", len(found))
    return html("Search", SEARCH + links(found))


@app.get("/archive")
def archive() -> Response:
    def chunks() -> Iterator[str]:
        head, tail = page("Archive", "<!-- posts -->").split("<!-- posts -->")
        yield head
        for slug in POSTS:
            yield links([slug])
        add_property("posts", len(POSTS))  # still in time: the event is made after the last byte
        yield tail

    return Response(chunks(), mimetype="text/html")


@app.get("/quote")
async def quote() -> str:
    await asyncio.sleep(0.02)  # stands for a call to another service
    return html("Quote", "<blockquote>Tea is drunk to forget the din of the world.</blockquote>")


@app.get("/checkout")
def checkout() -> str:
    return html("Join", CHECKOUT)


@app.post("/purchase")
def purchase() -> AnyResponse | tuple[str, int]:
    plan = request.form.get("plan", "")
    if plan not in PLANS:
        return html("No such plan", CHECKOUT), 400
    set_revenue(PLANS[plan], "GBP")
    add_property("plan", plan)
    return redirect("/thanks", 303)


@app.get("/thanks")
def thanks() -> str:
    return html("Thank you", "<p>The first leaves are on their way.</p>")


@app.get("/newsletter")
def newsletter() -> str:
    return html("Newsletter", NEWSLETTER)


@app.post("/subscribe")
def subscribe() -> str:
    track("newsletter.joined", {"list": "weekly"})  # one more event, in addition to the request's own
    return html("Welcome", "<p>See you on Sunday.</p>")


@app.get("/login")
def login() -> str:
    return html("Sign in", LOGIN)


@app.post("/sign-in")
def sign_in() -> AnyResponse:
    session["user"] = request.form.get("name", "guest")
    set_user(session["user"])  # overrides get_user_id; only this request needs it
    return redirect("/", 303)


@app.post("/sign-out")
def sign_out() -> AnyResponse:
    session.clear()
    return redirect("/", 303)


@app.get("/broken")
def broken() -> str:
    raise RuntimeError("the kettle is empty")
