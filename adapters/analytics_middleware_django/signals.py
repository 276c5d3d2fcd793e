"""Notes when a user signs out, so that the visitor cookie is replaced: whoever comes next is a new visitor."""

from typing import Any

from analytics_middleware.context import current
from analytics_middleware_django import _django

_UID = "analytics_middleware_django.signals"


def listen() -> None:
    """Listen for sign-outs. Only called for visitor cookies, so a project without them never imports Django's auth."""
    _django.import_string("django.contrib.auth.signals.user_logged_out").connect(_note, dispatch_uid=_UID)


def _note(*, user: Any = None, **_: Any) -> None:
    # Django also sends the signal if nobody was signed in, with None.
    context = current.get()
    if context is not None and user is not None:
        context.signed_out = True
