"""A request and a response without a framework: what runners make and what the API and the pages answer."""

import dataclasses
import re
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from analytics_middleware.context import RequestContext
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.request import Request
from analytics_middleware.store.filters import QuestionError

JSON: Final = "application/json"

_to_json = msgspec.json.Encoder().encode
_UNPRINTABLE: Final = re.compile(r"[^ -~\xa0-\xff]")


class Framework:
    """What a framework knows of those who ask. Plain ASGI and WSGI know nothing; adapters override.

    *native* is the framework's own request object, the one that `authorize` and `get_user_id` get.
    """

    has_staff: bool = False
    """Whether it knows who belongs to the site's staff, so that no other way in is needed."""

    def user_id(self, native: Any) -> str | None:
        """Return the id of the user whom the framework's auth has signed in."""
        return None

    def is_staff(self, native: Any) -> bool:
        """Return whether that user is staff."""
        return False

    def secret(self) -> bytes | None:
        """Return the key that the framework signs its own cookies with."""
        return None

    def form_fields(self, native: Any) -> tuple[tuple[str, str], ...]:
        """Return hidden fields, name and value, that the framework wants in every form."""
        return ()


@dataclasses.dataclass(slots=True, kw_only=True)
class WebRequest:
    """One request, its body read."""

    facts: Request
    """Method, headers, cookies, peer, host and query, as plain facts."""
    path: str
    """Below the mount, with one leading slash."""
    mount: str = ""
    """Where the application is mounted, as the browser sees it, percent-encoded."""
    content_type: str = ""
    body: bytes = b""
    native: Any = None
    """The framework's own request object."""
    context: RequestContext | None = None
    """What the middleware around knows of this request, if there is one."""
    streams: bool = False
    """Whether the answer may have an asynchronous body: where a held connection holds no worker."""
    refusal: "Refusal | None" = None
    """Why its body was not read; the application refuses it in its own way."""


@dataclasses.dataclass(slots=True)
class WebResponse:
    """What to answer. A body in parts is sent part by part; an asynchronous one only under ASGI.

    Raises `ValueError` for a header that no server could send: while the application can still answer otherwise.
    """

    status: int = 200
    body: bytes | Iterable[bytes] | AsyncGenerator[bytes, None] = b""
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list[tuple[str, str]])

    def __post_init__(self) -> None:
        for name, value in self.headers:
            if _UNPRINTABLE.search(value):
                raise ValueError(f"header {name} is {value!r:.100}, which is not all printable Latin-1")


class WebApp(Protocol):
    """What the runners run: the API, and the pages."""

    mount: str
    """Where it is when neither server nor framework says."""

    def body_limit(self, request: WebRequest) -> int:
        """Return how many bytes of the body of *request*, not read yet, are read; more are refused."""
        ...

    def __call__(self, request: WebRequest) -> WebResponse:
        """Answer *request*, whose `refusal`, if there is one, is the answer. May take long, and may raise nothing."""
        ...


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """The answer to a request that can't be granted."""

    def __init__(
        self, status: int, code: str, message: str, field: str | None = None, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.field = field
        self.headers = list(headers)

    def response(self) -> WebResponse:
        """Return it as ``{"error": {"code", "message", "field"}}``."""
        error = {"code": self.code, "message": str(self), "field": self.field}
        return json_response({"error": error}, self.status, self.headers)


@contextmanager
def refusals() -> Generator[None]:
    """Raise a `Refusal` for a question that can't be asked, and for one that nothing here can answer."""
    try:
        yield
    except QuestionError as error:
        raise Refusal(400, "invalid", str(error), error.field) from None
    except AnalyticsError as error:
        # No store, or its extra is not installed.
        raise Refusal(503, "unavailable", str(error)) from None


def json_response(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> WebResponse:
    """Return *value* as JSON that no cache keeps and no browser takes for anything else."""
    return WebResponse(status, _to_json(value), [("content-type", JSON), *headers, *PRIVATE])


# nosniff: https://fetch.spec.whatwg.org/#x-content-type-options-header; what strangers sent is inside the answers.
PRIVATE: Final = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


def split_mount(root: str, path: str, mount: str) -> tuple[str, str]:
    """Return where the application is mounted, as it is written in URLs, and the path below it.

    *root* is what the server or framework says it is mounted at (ASGI's root_path, WSGI's SCRIPT_NAME), which may or
    may not be part of *path*. Where it stops short of *mount*, an application dispatched without it, that is cut too.
    """
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    if path == mount or path.startswith(mount + "/"):
        root, path = root + mount, path[len(mount) :]
    return quote(root, safe="/!$&'()*+,;=:@~"), path or "/"
