# mypy: disable-error-code="import-untyped"
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
"""Everything that this adapter imports from Django, typed as `Any` because Django ships no types."""

from typing import Any

from django.apps import AppConfig
from django.apps import apps as _apps
from django.conf import settings as _settings
from django.core import checks as _checks
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.core.mail import send_mail as _send_mail
from django.core.signals import request_started as _request_started
from django.core.signals import setting_changed as _setting_changed
from django.db import transaction as _transaction
from django.http import HttpResponse as _HttpResponse
from django.http import StreamingHttpResponse as _StreamingHttpResponse
from django.middleware.csrf import get_token as _get_token
from django.shortcuts import resolve_url as _resolve_url
from django.urls import Resolver404
from django.urls import get_script_prefix as _get_script_prefix
from django.urls import path as _path
from django.urls import resolve as _resolve
from django.utils.functional import LazyObject, empty
from django.utils.module_loading import import_string as _import_string

apps: Any = _apps
settings: Any = _settings
checks: Any = _checks
request_started: Any = _request_started
setting_changed: Any = _setting_changed
send_mail: Any = _send_mail
transaction: Any = _transaction
get_script_prefix: Any = _get_script_prefix
get_token: Any = _get_token
import_string: Any = _import_string
path: Any = _path
resolve: Any = _resolve
resolve_url: Any = _resolve_url
HttpResponse: Any = _HttpResponse
StreamingHttpResponse: Any = _StreamingHttpResponse
EMPTY: Any = empty
"""What a lazy object holds until it is evaluated."""

__all__ = [
    "EMPTY",
    "AppConfig",
    "HttpResponse",
    "ImproperlyConfigured",
    "LazyObject",
    "MiddlewareNotUsed",
    "Resolver404",
    "StreamingHttpResponse",
    "apps",
    "checks",
    "get_script_prefix",
    "get_token",
    "import_string",
    "path",
    "request_started",
    "resolve",
    "resolve_url",
    "send_mail",
    "setting_changed",
    "settings",
    "transaction",
]
