"""A minimal router for the applications without a framework."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from contract.pages import ROUTES, STATIC, Answer, Ask, Handler, Route, html, set_user

_COMPILED = [(re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", route.path) + r"\Z"), route) for route in ROUTES]


def account(ask: Ask) -> Answer:
    """Without a framework there is no auth to read: the view says who it is."""
    if user := ask.header("x-user"):
        set_user(user)
    return html("account")


def app_css(ask: Ask) -> Answer:
    return Answer((STATIC / "app.css").read_bytes(), 200, "text/css")


def missing(ask: Ask) -> Answer:
    return html("not found", 404)


def wrong_method(ask: Ask) -> Answer:
    return html("wrong method", 405)


_OWN: Mapping[str, Handler] = {"/account": account, "/static/app.css": app_css}


def find(method: str, path: str) -> tuple[Handler, Mapping[str, str]]:
    """Return the page at *path* and its parameters."""
    if path in _OWN:
        return _OWN[path], {}
    for pattern, route in _COMPILED:
        if found := pattern.match(path):
            return _allowed(route, method), found.groupdict()
    return missing, {}


def _allowed(route: Route, method: str) -> Handler:
    return route.handler if method in route.methods else wrong_method


def query_of(text: str) -> dict[str, str]:
    return dict(parse_qsl(text))
