"""A Django project for the tests of the adapter: real sessions and users, in a database in memory."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import transaction
from django.test.utils import override_settings

# Settings name the project's modules.
sys.path.append(str(Path(__file__).parents[1]))

ANALYTICS = "analytics_middleware_django.AnalyticsMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
LOCALE = "django.middleware.locale.LocaleMiddleware"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.auth",
    "analytics_middleware_django",
]

# Databases can't be overridden later; everything else is, by `project`, for these tests alone.
if not settings.configured:
    settings.configure(
        SECRET_KEY="not a secret",
        INSTALLED_APPS=INSTALLED_APPS,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    django.setup()


@pytest.fixture(autouse=True)
def project(analytics_events: list[Any]) -> Iterator[None]:
    """The settings of every test here; analytics is on, and gives its events to `analytics_events`."""
    with override_settings(
        ALLOWED_HOSTS=["*"],
        ANALYTICS={},
        INSTALLED_APPS=INSTALLED_APPS,
        LANGUAGES=[("en", "English"), ("de", "German")],
        MIDDLEWARE=[ANALYTICS, SESSIONS, LOCALE, AUTH],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="django_project.urls",
        STATIC_URL="/static/",
        MEDIA_URL="media/",
        USE_TZ=True,
    ):
        yield


@pytest.fixture(scope="session")
def tables() -> None:
    """The tables of sessions and users, made once."""
    call_command("migrate", verbosity=0)


@pytest.fixture
def database(tables: None) -> Iterator[None]:
    """A transaction that is rolled back after the test."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def ada(database: None) -> Any:
    """A user in the database."""
    from django.contrib.auth.models import User

    return User.objects.create_user("ada", password="engine")
