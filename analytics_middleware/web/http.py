"""A request and a response without a framework: runners make the one, the API and the pages the other."""

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
    """What a framework knows about whoever makes a request. Plain ASGI and WSGI know nothing; adapters override this.

    *native* is the framework's own request object, which `authorize` and `get_user_id` get, too.
    """

    has_staff: bool = False
    """Whether it knows the site's staff, who then may read; no other way in is needed."""

    def user_id(self, native: Any) -> str | None:
        """Return the id of the user whom the framework's auth has signed in."""
        return None

    def is_staff(self, native: Any) -> bool:
        """Return whether that user is staff."""
        return False

    def sign_in_url(self, native: Any) -> str | None:
        """Return the address where staff sign in, and from where they come back; None if there is none."""
        return None

    def secret(self) -> bytes | None:
        """Return the key that the framework signs its own cookies with."""
        return None

    def form_fields(self, native: Any) -> tuple[tuple[str, str], ...]:
        """Return the names and values of hidden fields that the framework wants in every form."""
        return ()


@dataclasses.dataclass(slots=True, kw_only=True)
class WebRequest:
    """One request with its body."""

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
    """What the middleware around the application knows about this request, if there is any."""
    streams: bool = False
    """Whether the answer may have an asynchronous body: under ASGI, where an open connection blocks no worker."""
    refusal: "Refusal | None" = None
    """Why its body was not read, for the application to answer with."""


@dataclasses.dataclass(slots=True)
class WebResponse:
    """An answer. A body of several parts is sent part by part; an asynchronous body works under ASGI only.

    Raises `ValueError` for a header that no server could send, while the application can still answer otherwise.
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
    """The path it is mounted at when neither server nor framework says."""

    def body_limit(self, request: WebRequest) -> int:
        """Return the most bytes that the body of *request*, which is not read yet, may have."""
        ...

    def __call__(self, request: WebRequest) -> WebResponse:
        """Answer *request*; its `refusal`, if there is one, is the answer. May take long; must not raise."""
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
    """Raise a `Refusal` instead of the errors of questions: wrong ones, and those that nothing here can answer."""
    try:
        yield
    except QuestionError as error:
        raise Refusal(400, "invalid", str(error), error.field) from None
    except AnalyticsError as error:
        # No store, or its extra is not installed.
        raise Refusal(503, "unavailable", str(error)) from None


def json_response(value: Any, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> WebResponse:
    """Return *value* as JSON that no cache keeps and no browser takes for another type."""
    return WebResponse(status, _to_json(value), [("content-type", JSON), *headers, *PRIVATE])


# nosniff: https://fetch.spec.whatwg.org/#x-content-type-options-header. Answers contain texts of strangers.
PRIVATE: Final = (("cache-control", "no-store"), ("x-content-type-options", "nosniff"))


def split_mount(root: str, path: str, mount: str) -> tuple[str, str]:
    """Return where the application is mounted, as it is written in URLs, and the path below it.

    *root* is the mount that the server or framework reports (ASGI's root_path, WSGI's SCRIPT_NAME); *path* may begin
    with it or not. An application may dispatch to *mount* without reporting it; then that is cut off, too.
    """
    if root and (path == root or path.startswith(root + "/")):
        path = path[len(root) :]
    if path == mount or path.startswith(mount + "/"):
        root, path = root + mount, path[len(mount) :]
    return quote(root, safe="/!$&'()*+,;=:@~"), path or "/"
