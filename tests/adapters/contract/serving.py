"""What a real server imports: one stack, with the middleware, or without it for requests that say ``X-Plain``."""

import os
from typing import Any

from contract.stacks import ASGI_NAMES, load

NAME = os.environ["CONTRACT_STACK"]
EVENTS = os.environ["CONTRACT_EVENTS"]
COLLECTOR = "contract.collector.FileCollector"
SETTINGS = {
    "enabled": True,
    "collectors": [
        {"class": COLLECTOR, "path": EVENTS},
        # Waits for a batch that never fills: it delivers at the end, or not at all.
        {"class": COLLECTOR, "path": f"{EVENTS}.patient", "name": "patient", "linger": 3600.0},
    ],
}


def _both() -> tuple[Any, Any]:
    if NAME.startswith("Django"):
        from contract.stacks.django_app import serve_both

        return serve_both(SETTINGS, asgi=NAME in ASGI_NAMES)
    stack = load(NAME)
    # Left open: the server ends the process.
    (plain, _), (recorded, _) = stack.build(None, "plain").__enter__(), stack.build(SETTINGS, "plain").__enter__()
    return plain, recorded


plain, recorded = _both()


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    is_plain = scope["type"] == "http" and any(name == b"x-plain" for name, _ in scope["headers"])
    await (plain if is_plain else recorded)(scope, receive, send)


def wsgi(environ: dict[str, Any], start_response: Any) -> Any:
    return (plain if "HTTP_X_PLAIN" in environ else recorded)(environ, start_response)
