"""What all answers of the dashboard have in common: headers, methods, files."""

import re
from collections.abc import Sequence
from typing import Final

from analytics_middleware.store.filters import QuestionError
from analytics_middleware.web.http import PRIVATE, Refusal, WebRequest, WebResponse
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.tables import Table, csv_of
from analytics_middleware.web.templating import static_files

Headers = tuple[tuple[str, str], ...]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors "
)
_VARY: Final = ("vary", "Accept, Cookie, Authorization")

HEADERS: Final[Headers] = (
    ("content-security-policy", f"{_POLICY}'none'"),
    # With no-referrer, browsers would send no Origin with our own forms.
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    _VARY,
    *PRIVATE,
)
"""The headers of everything that is for readers."""


def shared_headers(frame_ancestors: Sequence[str]) -> Headers:
    """Return the headers of a shared page, which pages of *frame_ancestors* may show in a frame.

    Its address is a secret, so no Referer header may reveal it. X-Frame-Options can't list origins; browsers that
    know frame-ancestors ignore it (https://www.w3.org/TR/CSP3/#frame-ancestors-and-frame-options).
    """
    if not frame_ancestors:
        framing: Headers = (("content-security-policy", f"{_POLICY}'none'"), ("x-frame-options", "DENY"))
    else:
        sources = " ".join("'self'" if each == "self" else each for each in frame_ancestors)
        framing = (("content-security-policy", f"{_POLICY}{sources}"),)
        if sources == "'self'":
            framing = (*framing, ("x-frame-options", "SAMEORIGIN"))
    return (*framing, ("referrer-policy", "no-referrer"), ("x-robots-tag", "noindex, nofollow"), _VARY, *PRIVATE)


def check_method(request: WebRequest, *methods: str) -> None:
    """Raise `Refusal` unless *request* has one of *methods*."""
    method = request.facts.method
    if method not in methods:
        allow = ("allow", ", ".join(methods))
        raise Refusal(405, "method", f"{method[:20]} is not possible here.", headers=[allow])


def static_file(request: WebRequest, name: str) -> WebResponse:
    """Return the static file called *name*."""
    check_method(request, "GET", "HEAD")
    found = static_files().get(name)
    if found is None:
        raise Refusal(404, "not_found", "There is no such file.")
    content, kind, version = found
    # What an address with this version leads to never changes. While a new release is rolled out, it may be asked of
    # the old one, whose file must not be kept under the new one's address.
    kept = "public, max-age=31536000, immutable" if request.facts.query == f"v={version}" else "no-store"
    headers = [("content-type", kind), ("cache-control", kept), ("x-content-type-options", "nosniff")]
    return WebResponse(200, content, headers)


def csv_file(page: str, tables: dict[str, Table], name: str | None, scope: Scope) -> WebResponse:
    """Return the table called *name*, by default the first, as a file. Raises `QuestionError` if there is none."""
    found = tables.get(name or "") or (next(iter(tables.values()), None) if name is None else None)
    if found is None:
        raise QuestionError("table", f"{name!r:.100} is not one of {', '.join(tables)}")
    # The query may have named the table, and a quote would end the file's name (RFC 6266).
    file = re.sub(r"[^A-Za-z0-9._-]", "_", f"{page}-{found.name}-{scope.first}-{scope.last}.csv")
    headers = [("content-type", "text/csv; charset=utf-8"), ("content-disposition", f'attachment; filename="{file}"')]
    return WebResponse(200, csv_of(found), headers)


def wants_json(request: WebRequest) -> bool:
    """Return whether *request* accepts JSON and no HTML."""
    accept = request.facts.header("accept") or ""
    return "application/json" in accept and "text/html" not in accept
