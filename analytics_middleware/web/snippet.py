"""The browser's script, as the application serves it."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Final

from analytics_middleware.request import Request
from analytics_middleware.web.http import WebResponse

MINIFIED: Final = Path(__file__).parent / "static" / "analytics.min.js"

_CACHE = "public, max-age=3600, stale-while-revalidate=86400"


def serve(request: Request) -> WebResponse:
    """Return the script, or 304 if the browser has it."""
    script, tag = _script()
    headers = [
        ("content-type", "text/javascript; charset=utf-8"),
        ("cache-control", _CACHE),
        ("etag", tag),
        ("x-content-type-options", "nosniff"),
        # Pages of other origins load it from here; it holds nothing private.
        ("cross-origin-resource-policy", "cross-origin"),
    ]
    known = {each.strip().removeprefix("W/") for each in (request.header("if-none-match") or "").split(",")}
    return WebResponse(304, b"", headers[1:]) if tag in known else WebResponse(200, script, headers)


@cache
def _script() -> tuple[bytes, str]:
    script = MINIFIED.read_bytes()
    return script, f'"{hashlib.sha256(script).hexdigest()[:16]}"'
