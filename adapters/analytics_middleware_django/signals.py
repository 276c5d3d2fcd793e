"""What Django tells of its users: whoever signs out is somebody new to the visitor cookie from then on."""

from typing import Any

from analytics_middleware.context import current
from analytics_middleware_django import _django

_UID = "analytics_middleware_django.signals"


def listen() -> None:
    """Hear of sign-outs. Only needed with a visitor cookie, so a project without it never imports Django's auth."""
    _django.import_string("django.contrib.auth.signals.user_logged_out").connect(_note, dispatch_uid=_UID)


def _note(*, user: Any = None, **_: Any) -> None:
    # Django sends it for visitors who were nobody, too, with None.
    context = current.get()
    if context is not None and user is not None:
        context.signed_out = True
