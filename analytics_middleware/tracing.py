"""The trace that a request belongs to, so that an event can be found among its spans and the other way round.

Where OpenTelemetry is at work its current span says so, in the request; elsewhere the ``traceparent`` header does,
which is read off the request path. Nothing is imported for it: https://www.w3.org/TR/trace-context/
"""

import re
import sys
from types import ModuleType
from typing import Final

from analytics_middleware.request import Request

MODULE: Final = "opentelemetry.trace"

modules: Final = sys.modules
"""Looked into at each request: instrumentation may be imported at any time."""

# Section 3.2: version, trace id, parent id, flags. Version ff is invalid; later ones may have more fields.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def current_trace(module: ModuleType) -> int:
    """Return the trace id of OpenTelemetry's current span, 0 when there is none; *module* is `MODULE`. Never raises."""
    try:
        trace_id: int = module.get_current_span().get_span_context().trace_id
    except Exception:  # noqa: BLE001 - somebody else's code, or a module that is being imported at this moment
        return 0
    return trace_id


def trace_id_of(current: int, request: Request | None) -> str | None:
    """Return the trace id as 32 hexadecimal digits: of the span that was *current*, else of *request*'s header."""
    if current:
        return f"{current:032x}"
    header = None if request is None else request.header("traceparent")
    match = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if match is None or (match[1] == "00" and match[3]):
        return None
    return match[2]
