"""Reads a request's body within limits of size and time, never decompressed, and decodes its JSON."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from analytics_middleware.web import shape
from analytics_middleware.web.http import Refusal

SECONDS: Final = 10.0
"""How long a client may take to send a body: one that sends a byte now and then must not block a worker."""

_CHUNK = 16_384
_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class ClientGone(Exception):  # noqa: N818 - there is nobody to answer
    """The client left before its body was complete."""


def expects_body(method: str, length: str | None, encoding: str | None, limit: int) -> bool:
    """Return whether there is a body to read. Raises `Refusal` if its headers announce one that is not accepted.

    A compressed body is refused rather than inflated: a few bytes can stand for gigabytes.
    """
    if method not in _WITH_BODY:
        return False
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise Refusal(
            415, "content_encoding", "the body must not be compressed", headers=[("accept-encoding", "identity")]
        )
    if length is not None and length.strip():
        if not (length.isascii() and length.strip().isdigit()):
            raise Refusal(400, "content_length", "Content-Length must be a number")
        # int() raises for thousands of digits.
        if len(length.strip().lstrip("0")) > 12 or int(length) > limit:
            raise _too_large(limit)
    return True


def read(source: Callable[[int], bytes], limit: int, length: str | None = None) -> bytes:
    """Return all bytes of *source*, a function that returns up to the number it is called with, and none at the end.

    With *length* no more than that is read: a WSGI server may wait for bytes that never come (PEP 3333).
    """
    deadline = time.monotonic() + SECONDS
    body = b""
    left = limit + 1 if length is None else int(length)
    while left > 0 and (chunk := source(min(left, _CHUNK))):
        body += chunk
        left -= len(chunk)
        if len(body) > limit:
            raise _too_large(limit)
        if time.monotonic() > deadline:
            raise _too_slow()
    return body


async def receive_all(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], limit: int) -> bytes:
    """Return the body that the messages of *receive* (ASGI) hold."""
    body = b""
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                part: bytes = message.get("body", b"")
                body += part
                if len(body) > limit:
                    raise _too_large(limit)
                if not message.get("more_body", False):
                    return body
    except TimeoutError:
        raise _too_slow() from None


def decoded(body: bytes, decoder: "msgspec.json.Decoder[Any]") -> Any:
    """Return the value of the JSON in *body*. Raises `Refusal`, which names the field."""
    try:
        return shape.decode(body, decoder)
    except msgspec.ValidationError as error:
        raise misfit(error) from None
    except shape.ShapeError as error:
        raise Refusal(400, "json", str(error), "body") from None


def misfit(error: msgspec.ValidationError) -> Refusal:
    """Return the refusal of a value of the wrong type; it names the field."""
    message, _, path = str(error).partition(" - at ")
    unknown = re.fullmatch(r"Object (?:contains unknown|missing required) field `(.*)`", message, re.DOTALL)
    at = path.strip("`").removeprefix("$").removeprefix(".")
    field = ".".join(filter(None, [at, unknown[1] if unknown else ""]))
    return Refusal(400, "invalid", message[:200], field[:200] or "body")


def _too_large(limit: int) -> Refusal:
    return Refusal(413, "too_large", f"the body must not be longer than {limit} bytes")


def _too_slow() -> Refusal:
    return Refusal(408, "timeout", f"the body did not arrive within {SECONDS:g} seconds")
