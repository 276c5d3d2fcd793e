"""The trace id of a request, so that its event can be found from its spans and the other way round.

If the application has imported OpenTelemetry, the id is that of its current span, read within the request. Otherwise
it is that of the ``traceparent`` header, read in the writer thread. Nothing is imported here for it.
Source: https://www.w3.org/TR/trace-context/
"""

import re
import sys
from types import ModuleType
from typing import Final

from analytics_middleware.request import Request

MODULE: Final = "opentelemetry.trace"

modules: Final = sys.modules
"""Checked at each request: instrumentation may be imported at any time."""

# Section 3.2: version, trace id, parent id, flags. Version ff is invalid; later ones may have more fields.
_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def current_trace(module: ModuleType) -> int:
    """Return the trace id of OpenTelemetry's current span, 0 when there is none; *module* is `MODULE`. Never raises."""
    try:
        trace_id: int = module.get_current_span().get_span_context().trace_id
    except Exception:  # noqa: BLE001 - third-party code, or a module that is just being imported
        return 0
    return trace_id


def trace_id_of(current: int, request: Request | None) -> str | None:
    """Return the trace id *current* as 32 hexadecimal digits; if it is 0, the one in *request*'s header, or None."""
    if current:
        return f"{current:032x}"
    header = None if request is None else request.header("traceparent")
    match = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if match is None or (match[1] == "00" and match[3]):
        return None
    return match[2]
